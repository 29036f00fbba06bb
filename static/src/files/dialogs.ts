import { Problem } from "../api/problem";
import { bytes, when } from "../ui/format";
import { composing } from "../ui/typing";
import { button, el } from "../viewer/dom";
import { fit, shown } from "./name";
import type { Row } from "./rows";
import type { Answer, Item } from "./uploads";

let dialogs = 0;

// open shows a dialog; Escape is the answer undefined.
function open<T>(title: string, make: (answer: (a: T) => void, close: () => void) => { body: Node[]; first: HTMLElement }): Promise<T | undefined> {
  return new Promise((resolve) => {
    let given: T | undefined;
    const id = `dialog-${++dialogs}`;
    const dialog = el("dialog", { class: "box", "aria-labelledby": id });
    const { body, first } = make((a) => {
      given = a;
      dialog.close();
    }, () => dialog.close());
    dialog.append(el("div", { class: "body" }, el("h2", { id }, title), ...body));
    const before = document.activeElement;
    dialog.addEventListener("close", () => {
      dialog.remove();
      if (before instanceof HTMLElement && before.isConnected) before.focus();
      resolve(given);
    });
    document.body.append(dialog);
    dialog.showModal();
    first.focus();
  });
}

/** words are a problem's, where those of the table are of envoys and sessions. */
export function words(p: Problem): { title: string; hint: string } {
  if (p.code === "not_found") return { title: "There is no such file or folder.", hint: "" };
  if (p.code === "conflict") return { title: "There is one of this name already.", hint: "" };
  return p;
}

/** Wish is a name that the person is asked for. */
export interface Wish {
  title: string;
  action: string;
  value: string;
  stem?: boolean; // what stands before the ending is selected
  run(name: string): Promise<void>; // its failure is shown in the dialog, which stays
}

/** askName asks for a name and does something with it; it says which, or undefined. */
export function askName(w: Wish): Promise<string | undefined> {
  return open<string>(w.title, (answer, close) => {
    const input = el("input", { class: "input", id: "file-name", autocomplete: "off", autocapitalize: "off", spellcheck: "false", dir: "auto", "aria-describedby": "file-why" });
    const why = el("p", { class: "bad-text", id: "file-why", role: "alert" });
    const go = el("button", { class: "button primary" }, w.action);
    input.value = w.value;
    const form = el("form", { class: "stack" }, el("div", { class: "field" }, el("label", { for: "file-name" }, "Name"), input), why,
      el("div", { class: "buttons" }, button("Cancel", {}, close), go));
    const wrong = (text: string) => {
      why.textContent = text;
      input.setAttribute("aria-invalid", "true");
      input.focus();
    };
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const name = input.value;
      const bad = fit(name);
      if (bad !== undefined) return wrong(bad);
      go.disabled = true;
      w.run(name).then(() => answer(name), (err: unknown) => {
        go.disabled = false;
        const p = Problem.from(err);
        wrong(`${words(p).title} ${p.code === "conflict" ? "" : shown(p.detail, 300)}`.trim());
      });
    });
    form.addEventListener("keydown", (e) => composing(e) && e.stopPropagation());
    queueMicrotask(() => {
      const dot = w.stem ? w.value.lastIndexOf(".") : -1;
      input.setSelectionRange(0, dot > 0 ? dot : w.value.length);
    });
    return { body: [form], first: input };
  });
}

const listed = 5; // names in a question

/** sureToRemove asks before files are removed. */
export async function sureToRemove(rows: readonly Row[]): Promise<boolean> {
  const one = rows.length === 1 ? rows[0] : undefined;
  const folders = rows.filter((r) => r.entry.kind === "dir").length;
  const words = folders === 0 ? "" : one ? "With everything in it. " : folders === 1 ? "The folder with everything in it. " : `${folders === rows.length ? "Each" : `${folders} of them are folders, each`} with everything in it. `;
  const yes = await open<boolean>(one ? `Delete ${shown(one.shown, 60)}?` : `Delete these ${rows.length.toLocaleString()}?`, (answer, close) => {
    const cancel = button("Cancel", {}, close);
    const names = one ? [] : [el("ul", { class: "names" }, ...rows.slice(0, listed).map((r) => el("li", {}, el("bdi", {}, shown(r.shown, 80)))), ...(rows.length > listed ? [el("li", { class: "muted" }, `and ${(rows.length - listed).toLocaleString()} more`)] : []))];
    return { body: [...names, el("p", {}, `${words}This cannot be undone.`), el("div", { class: "buttons" }, cancel, button("Delete", { class: "button primary danger" }, () => answer(true)))], first: cancel };
  });
  return yes === true;
}

/** askClash asks what becomes of a file whose name is taken; undefined: all of it is given up. */
export function askClash(i: Item, there: Row | undefined, more: boolean): Promise<Answer | undefined> {
  return open<Answer>(`${shown(i.name, 60)} is there already`, (answer, close) => {
    const all = el("input", { type: "checkbox", id: "clash-all" });
    const say = (what: Answer["what"]) => () => answer({ what, all: all.checked });
    const skip = button("Skip", {}, say("skip"));
    const facts = [
      there ? el("p", {}, `On the machine: ${there.folder ? "a folder" : `${bytes(there.entry.size)}, ${when(there.entry.modified)}`}.`) : undefined,
      i.file ? el("p", {}, `Yours: ${bytes(i.file.size)}, ${when(new Date(i.file.lastModified).toISOString())}.`) : undefined,
    ].filter((e) => e !== undefined);
    return {
      body: [
        el("p", { class: "muted" }, "In ", el("bdi", { class: "mono" }, shown(i.folder.text, 200))), ...facts,
        ...(more ? [el("div", { class: "row" }, all, el("label", { for: "clash-all" }, "Do the same for all that follow"))] : []),
        el("div", { class: "buttons" }, button("Cancel all", { class: "button quiet" }, close), skip, button("Keep both", {}, say("both")), button("Replace", { class: "button danger" }, say("replace"))),
      ],
      first: skip,
    };
  });
}
