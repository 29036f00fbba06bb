// The page's elements are made here, never from strings: what comes from a machine is only ever text.

type Child = Node | string | undefined;
type Attributes = Record<string, string | boolean | undefined>;

export function el<K extends keyof HTMLElementTagNameMap>(tag: K, attrs: Attributes = {}, ...children: Child[]): HTMLElementTagNameMap[K] {
  const e = document.createElement(tag);
  for (const [k, v] of Object.entries(attrs)) if (v !== undefined && v !== false) e.setAttribute(k, v === true ? "" : v);
  for (const c of children) if (c !== undefined) e.append(c);
  return e;
}

export function button(label: string, attrs: Attributes, click: () => void, ...children: Child[]): HTMLButtonElement {
  const b = el("button", { type: "button", class: "button", ...attrs }, ...(children.length > 0 ? children : [label]));
  if (children.length > 0) b.setAttribute("aria-label", label);
  b.addEventListener("click", click);
  return b;
}

const svg = "http://www.w3.org/2000/svg";
const paths = {
  back: "M9.5 3.5L5 8l4.5 4.5",
  plus: "M8 2.5v11M2.5 8h11",
  close: "M4 4l8 8M12 4l-8 8",
  copy: "M5.5 5.5h8.5v8.5H5.5zM10.5 5.5V2H2v8.5h3.5",
  paste: "M5.5 3H3v11h10V3h-2.5M5.5 1.75h5V4.5h-5z",
  search: "M11.5 7a4.5 4.5 0 11-9 0 4.5 4.5 0 019 0zM10.5 10.5L14 14",
  smaller: "M2.5 13L6 4l3.5 9M3.5 10h5M11 8h4",
  larger: "M2.5 13L6 4l3.5 9M3.5 10h5M11 8h4M13 6v4",
  full: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
  theme: "M8 2a6 6 0 100 12zM8 2a6 6 0 010 12",
  reader: "M8 3.5a1 1 0 100-.01M3 6h10M8 6v4M8 10l-2.5 4M8 10l2.5 4",
  keys: "M1.75 4h12.5v8H1.75zM4 6.5h.01M6.5 6.5h.01M9 6.5h.01M11.5 6.5h.01M5 9.5h6",
  skip: "M2.5 4l4 4-4 4M7.5 4l4 4-4 4M13.5 4v8",
  end: "M8 2v6M4.5 4.2a5.25 5.25 0 107 0",
  more: "M3.5 8h.01M8 8h.01M12.5 8h.01",
  up: "M4 10l4-4 4 4",
  down: "M4 6l4 4 4-4",
  chord: "M2 3h5v4H2zM9 3h5v4H9zM5.5 9.5h5v4h-5z",
  files: "M1.75 4V13h12.5V5.25H8L6.5 3.25H1.75z",
  sound: "M2.5 6.25v3.5h2.25L8 12.5v-9L4.75 6.25zM10.5 5.75a3.2 3.2 0 010 4.5M12.4 4a5.7 5.7 0 010 8",
  fit: "M1.75 3h12.5v10H1.75zM5 8h6M5 8l1.5-1.5M5 8l1.5 1.5M11 8L9.5 6.5M11 8L9.5 9.5",
  finger: "M6 8.5V3.25a1.1 1.1 0 012.2 0V7l3.6.9c.8.2 1.2.8 1.1 1.6L12.2 14H7L4 10.2c-.5-.7.4-1.6 1.2-1.1z",
  file: "M3.5 1.75h6l3 3v9.5h-9zM9.5 1.75v3h3",
  link: "M6.5 9.5l3-3M7 5l1.2-1.2a2.6 2.6 0 013.9 3.6L11 8.6M9 11l-1.2 1.2a2.6 2.6 0 01-3.9-3.6L5 7.4",
  upload: "M8 10.5V2.5M4.75 5.5L8 2.25 11.25 5.5M2.5 10.5v3h11v-3",
  tree: "M1.75 4V13h12.5V5.25H8L6.5 3.25H1.75zM8 11.25v-4M6.25 8.75L8 7l1.75 1.75",
  folder: "M1.75 4V13h12.5V5.25H8L6.5 3.25H1.75zM8 7.25v3.75M6.1 9.1h3.8",
  download: "M8 2.5v8M4.75 7.5L8 10.75 11.25 7.5M2.5 10.5v3h11v-3",
  rename: "M2.5 13.5l.75-3L10.5 3.25l2.25 2.25L5.5 12.75zM9 4.75L11.25 7",
  bin: "M2.5 4.25h11M6 4.25v-2h4v2M4 4.25l.6 9.25h6.8L12 4.25M6.75 7v4M9.25 7v4",
  again: "M13.25 8a5.25 5.25 0 11-1.6-3.75M13.25 2v3h-3",
  home: "M2 7.75L8 2.5l6 5.25M3.75 6.5v7h3.25V10h2v3.5h3.25v-7",
  path: "M1.75 4h12.5v8H1.75zM4.5 6.25v3.5M7 9.75h2",
  hidden: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM10 8a2 2 0 11-4 0 2 2 0 014 0zM2.5 13.5l11-11",
  eye: "M1.5 8S4 3.5 8 3.5 14.5 8 14.5 8 12 12.5 8 12.5 1.5 8 1.5 8zM10 8a2 2 0 11-4 0 2 2 0 014 0z",
};

export type Icon = keyof typeof paths;

export function icon(name: Icon): SVGElement {
  const s = document.createElementNS(svg, "svg");
  s.setAttribute("class", "icon");
  s.setAttribute("viewBox", "0 0 16 16");
  s.setAttribute("aria-hidden", "true");
  const p = document.createElementNS(svg, "path");
  p.setAttribute("d", paths[name]);
  s.append(p);
  return s;
}

export interface Question {
  title: string;
  body: (Node | string)[];
  yes: HTMLElement | string; // the button that does it
  danger?: boolean;
  no?: string;
}

/** ask shows a question and resolves with the answer; Escape is no. */
export function ask(q: Question): Promise<boolean> {
  return new Promise((resolve) => {
    const yes = typeof q.yes === "string" ? el("button", { type: "button", class: "button primary" + (q.danger ? " danger" : "") }, q.yes) : q.yes;
    const no = el("button", { type: "button", class: "button" }, q.no ?? "Cancel");
    const title = el("h2", { id: "ask-title" }, q.title);
    const dialog = el("dialog", { class: "box", "aria-labelledby": "ask-title" }, el("div", { class: "body" }, title, ...q.body, el("div", { class: "buttons" }, no, yes)));
    const before = document.activeElement;
    let answer = false;
    yes.addEventListener("click", () => {
      answer = true;
      dialog.close();
    });
    no.addEventListener("click", () => dialog.close());
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before instanceof HTMLElement) before.focus();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    (q.danger ? no : yes).focus();
  });
}
