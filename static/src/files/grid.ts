import { bytes, exact, when } from "../ui/format";
import { composing, types } from "../ui/typing";
import { button, el, icon } from "../viewer/dom";
import { permissions } from "./name";
import { Typed, type Order, type Row } from "./rows";

/** Hands is told what the person does with rows. */
export interface Hands {
  open(r: Row): void;
  up(): void;
  rename(): void;
  remove(): void;
  escape(): void;
  sort(by: Order): void;
  chosen(): void; // the selection has changed
}

const low = 32; // pixels of a row
const high = 44; // where a finger is used
const double = 48; // where a row has two lines
const narrow = 480; // pixels of the list's width below which it has
const spare = 8; // rows above and below what is seen
const titles: Record<Order, string> = { name: "Name", size: "Size", modified: "Modified" };
let grids = 0;

/**
 * Grid shows a folder of any length: only rows that are seen are in the document. The keys move an active row
 * (aria-activedescendant), so that the focus stays on the grid while rows come and go.
 */
export class Grid {
  readonly element: HTMLElement;
  rows: readonly Row[] = [];
  private readonly picked = new Set<string>();
  private at = -1; // the active row
  private anchor = -1; // where a range begins
  private idle = false; // nobody has chosen the active row: the keys begin with it
  private readonly typed = new Typed();
  private readonly id = `files-${++grids}`;
  private readonly body = el("div", { class: "fbody", role: "rowgroup" });
  private readonly heads = new Map<Order, HTMLElement>();
  private readonly shown = new Map<number, HTMLElement>();
  private readonly coarse = matchMedia("(pointer: coarse)");
  private touch = false; // the last pointer was a finger
  private height = low;
  private frame = 0;

  constructor(private readonly hands: Hands) {
    const head = (by: Order) => {
      const h = el("div", { class: `fcell f-${by}`, role: "columnheader" }, button(titles[by], { class: "sort" }, () => hands.sort(by), titles[by]));
      this.heads.set(by, h);
      return h;
    };
    const all = button("Select all", { class: "check" }, () => this.all(this.picked.size < this.rows.length), el("span", { class: "tick" }));
    this.element = el("div", { class: "fgrid", role: "grid", tabindex: "0", "aria-multiselectable": "true" },
      el("div", { class: "fhead", role: "rowgroup" }, el("div", { class: "frow", role: "row", "aria-rowindex": "1" },
        el("div", { class: "fcell f-check", role: "columnheader" }, all), head("name"), head("size"), head("modified"),
        el("div", { class: "fcell f-mode", role: "columnheader" }, "Permissions"))),
      this.body);
    this.element.addEventListener("focus", () => this.settle());
    this.element.addEventListener("scroll", () => this.later());
    this.element.addEventListener("keydown", (e) => this.key(e));
    this.body.addEventListener("pointerdown", (e) => (this.touch = e.pointerType === "touch"));
    this.body.addEventListener("click", (e) => this.click(e));
    this.body.addEventListener("dblclick", (e) => {
      const r = this.rows[this.indexOf(e)];
      if (r && !this.touch && !onTick(e)) hands.open(r);
    });
    new ResizeObserver(() => this.fit()).observe(this.element);
    this.coarse.addEventListener("change", () => this.fit());
  }

  /** chosen are the rows that are selected, in their order. */
  get chosen(): Row[] {
    return this.rows.filter((r) => this.picked.has(r.key));
  }

  /** active is the row that the keys act on. */
  get active(): Row | undefined {
    return this.rows[this.at];
  }

  /** show shows other rows; what is still there stays selected and active. */
  show(rows: readonly Row[], by: Order, down: boolean, label: string): void {
    const key = this.active?.key;
    this.rows = rows;
    const there = new Set(rows.map((r) => r.key));
    for (const k of [...this.picked]) if (!there.has(k)) this.picked.delete(k);
    this.at = key === undefined ? -1 : rows.findIndex((r) => r.key === key);
    this.anchor = this.at;
    if (document.activeElement === this.element) this.settle();
    this.element.setAttribute("aria-label", label);
    this.element.setAttribute("aria-rowcount", String(rows.length + 1));
    for (const [o, h] of this.heads) {
      h.setAttribute("aria-sort", o === by ? (down ? "descending" : "ascending") : "none");
      h.querySelector("svg")?.remove();
      if (o === by) h.firstElementChild?.append(icon(down ? "down" : "up"));
    }
    this.renew();
    this.hands.chosen();
  }

  /** clear forgets what is selected and active: another folder comes. */
  clear(): void {
    this.picked.clear();
    this.at = this.anchor = -1;
    this.element.scrollTop = 0;
  }

  /** go makes the row of a name the active one, and selects it. */
  go(key: string): void {
    const i = this.rows.findIndex((r) => r.key === key);
    if (i >= 0) this.move(i, "only");
  }

  /** rowAt is the row under the pointer. */
  rowAt(e: Event): Row | undefined {
    return this.rows[this.indexOf(e)];
  }

  /** mark shows the row that something would be dropped into. */
  mark(r: Row | undefined): void {
    for (const [i, e] of this.shown) e.classList.toggle("into", r !== undefined && this.rows[i] === r);
  }

  // settle has the focus on some row.
  private settle(): void {
    if (this.at >= 0 || this.rows.length === 0) return;
    this.at = 0;
    this.idle = true;
    this.paint();
  }

  private all(on: boolean): void {
    this.picked.clear();
    if (on) for (const r of this.rows) this.picked.add(r.key);
    this.paint();
    this.hands.chosen();
  }

  private indexOf(e: Event): number {
    const row = e.target instanceof Element ? e.target.closest<HTMLElement>(".fbody > .frow") : null;
    return row ? Number(row.dataset["i"]) : -1;
  }

  private click(e: MouseEvent): void {
    const i = this.indexOf(e);
    const r = this.rows[i];
    if (!r) return;
    this.element.focus({ preventScroll: true });
    if (onTick(e) || e.ctrlKey || e.metaKey) this.move(i, e.shiftKey ? "range" : "toggle");
    else if (e.shiftKey) this.move(i, "range");
    else if (this.touch && this.picked.size > 0 && !this.picked.has(r.key)) this.move(i, "toggle");
    else if (this.touch && r.folder) this.hands.open(r);
    else this.move(i, "only");
  }

  private key(e: KeyboardEvent): void {
    if (e.target !== this.element || composing(e)) return;
    const control = e.ctrlKey || e.metaKey;
    const page = Math.max(1, Math.floor(this.room / this.height) - 1);
    const to = { ArrowDown: this.idle ? this.at : this.at + 1, ArrowUp: this.at - 1, PageDown: this.at + page, PageUp: this.at - page, Home: 0, End: this.rows.length - 1 }[e.key];
    const r = this.active;
    const now = performance.now();
    if (e.altKey && e.key === "ArrowUp") this.hands.up();
    else if (e.altKey) return;
    else if (to !== undefined) this.move(to, e.shiftKey ? "range" : control ? "none" : "only");
    else if (control && e.key.toLowerCase() === "a") this.all(true);
    else if (control && e.key !== " ") return;
    else if (e.key === " " && !this.typed.under(now)) this.move(this.at, "toggle");
    else if (e.key === "Enter") {
      if (r) this.hands.open(r);
    } else if (e.key === "Backspace") this.hands.up();
    else if (e.key === "F2") this.hands.rename();
    else if (e.key === "Delete") this.hands.remove();
    else if (e.key === "Escape") {
      if (this.picked.size > 1) this.all(false);
      else this.hands.escape();
    } else if (types(e)) {
      const i = this.typed.find(e.key, this.rows, this.at, now);
      if (i >= 0) this.move(i, "only");
    } else return;
    e.preventDefault();
    e.stopPropagation();
  }

  // move makes a row the active one, and changes what is selected.
  private move(to: number, what: "only" | "range" | "toggle" | "none"): void {
    const i = Math.min(Math.max(to, 0), this.rows.length - 1);
    const r = this.rows[i];
    if (!r) return;
    this.at = i;
    this.idle = false;
    if (what === "only" || what === "range") this.picked.clear();
    if (what === "only") this.picked.add(r.key);
    else if (what === "toggle") {
      if (!this.picked.delete(r.key)) this.picked.add(r.key);
    } else if (what === "range") {
      if (this.anchor < 0) this.anchor = i;
      for (let n = Math.min(this.anchor, i); n <= Math.max(this.anchor, i); n++) {
        const between = this.rows[n];
        if (between) this.picked.add(between.key);
      }
    }
    if (what !== "range") this.anchor = i;
    const top = i * this.height;
    if (top < this.element.scrollTop) this.element.scrollTop = top;
    else if (top + this.height > this.element.scrollTop + this.room) this.element.scrollTop = top + this.height - this.room;
    this.draw();
    this.hands.chosen();
  }

  // room is how many pixels of rows are seen.
  private get room(): number {
    return this.element.clientHeight - (this.element.querySelector<HTMLElement>(".fhead")?.offsetHeight ?? 0);
  }

  private fit(): void {
    const two = this.element.clientWidth < narrow;
    this.element.classList.toggle("narrow", two);
    const height = two ? double : this.coarse.matches ? high : low;
    if (height !== this.height) {
      this.height = height;
      this.renew();
    } else this.draw();
  }

  private later(): void {
    this.frame ||= requestAnimationFrame(() => {
      this.frame = 0;
      this.draw();
    });
  }

  private renew(): void {
    this.shown.clear();
    this.body.replaceChildren();
    this.body.style.height = `${this.rows.length * this.height}px`;
    this.draw();
  }

  // draw brings the rows that are seen into the document.
  private draw(): void {
    const first = Math.max(0, Math.floor(this.element.scrollTop / this.height) - spare);
    const last = Math.min(this.rows.length, Math.ceil((this.element.scrollTop + this.element.clientHeight) / this.height) + spare);
    for (const [i, e] of this.shown) {
      if (i >= first && i < last) continue;
      e.remove();
      this.shown.delete(i);
    }
    for (let i = first; i < last; i++) {
      const r = this.rows[i];
      if (!r || this.shown.has(i)) continue;
      const e = this.row(r, i);
      this.shown.set(i, e);
      // Screen readers read rows in the document's order.
      let next: HTMLElement | undefined;
      for (let n = i + 1; n < last && !next; n++) next = this.shown.get(n);
      this.body.insertBefore(e, next ?? null);
    }
    this.paint();
  }

  private paint(): void {
    for (const [i, e] of this.shown) {
      const r = this.rows[i];
      e.setAttribute("aria-selected", String(r !== undefined && this.picked.has(r.key)));
      e.classList.toggle("active", i === this.at);
    }
    if (this.shown.has(this.at)) this.element.setAttribute("aria-activedescendant", `${this.id}-${this.at}`);
    else this.element.removeAttribute("aria-activedescendant");
    this.element.classList.toggle("all", this.rows.length > 0 && this.picked.size === this.rows.length);
  }

  private row(r: Row, i: number): HTMLElement {
    const { entry: f } = r;
    const what = f.kind === "dir" ? "Folder" : f.kind === "link" ? (r.folder ? "Link to a folder" : f.to === undefined ? "Broken link" : "Link") : f.kind === "other" ? "Special file" : "";
    const size = r.folder || f.kind === "other" ? "" : bytes(f.size);
    const time = when(f.modified);
    const mode = permissions(f.mode);
    const e = el("div", { class: "frow", role: "row", id: `${this.id}-${i}`, "data-i": String(i), "aria-rowindex": String(i + 2) },
      el("div", { class: "fcell f-check", role: "gridcell" }, el("span", { class: "tick" })),
      el("div", { class: "fcell f-name", role: "gridcell", title: f.raw ? `${r.shown} (its name is not UTF-8)` : r.shown },
        icon(f.kind === "link" ? "link" : r.folder ? "files" : "file"), el("bdi", { dir: "ltr" }, r.shown), what === "" ? undefined : el("span", { class: "visually-hidden" }, `, ${what}`)),
      el("div", { class: "fcell f-size num", role: "gridcell" }, size),
      el("div", { class: "fcell f-modified num", role: "gridcell", title: exact(f.modified) }, time),
      el("div", { class: "fcell f-mode mono", role: "gridcell" }, mode));
    e.classList.toggle("folder", r.folder);
    e.style.height = `${this.height}px`;
    e.style.transform = `translateY(${i * this.height}px)`;
    return e;
  }
}

function onTick(e: Event): boolean {
  return e.target instanceof Element && e.target.closest(".f-check") !== null;
}
