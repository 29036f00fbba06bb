import { html, nothing, type TemplateResult } from "lit";
import { Part } from "./element";
import { fit } from "./fit";
import { icon } from "./icon";
import { longest, remeasure, textWidth } from "./measure";

/** Column is one of a table's columns; what is in it gives it its width. */
export type Column<R> = {
  name: string;
  title: string;
  cell: (row: R, width: number) => unknown; // width: pixels that there are
  text?: (row: R) => string; // what is seen in it; by this it is measured
  extra?: number; // pixels beside the text: dots, icons
  wide?: (row: R) => number; // besides, or instead of text: pixels
  strong?: boolean;
  least?: number; // pixels; with less it is of no use
  rank?: number; // who has the highest goes first when room is short; 0, or none, stays
  first?: boolean; // is whole before the others get more
  grows?: boolean; // takes what nobody needs
  bare?: boolean; // is left out when there is nothing in it
  end?: boolean; // at the right
  sortable?: boolean;
  plain?: boolean; // the title is only for screen readers
};

const most = 250; // rows in the document, whatever the layout claims
const mostPrinted = 2000; // rows on paper
const paper = 960; // pixels of a page's width, which the browser makes smaller
const spare = 6; // rows above and below what is seen, so that a fast wheel shows no gaps
const step = 4; // rows that are scrolled before the document changes
const many = 2000; // rows
const remeasureEvery = 10_000; // ms
const gap = 16; // pixels between columns; list.css has the same
const side = 16; // pixels at both sides of a row
const arrow = 18; // pixels of the mark of the order, in a head

/**
 * VTable shows a list of any length: all rows have one height, and only those that are seen are in
 * the document. The keys move an active row (aria-activedescendant), so that focus stays on the
 * grid while rows come and go. Links in rows are for the mouse: Enter, the details and the menu do the same.
 *
 * It tells: open (Enter), details (Space, i), menu (m, the menu key), sort (a column's name), leave (up from
 * the first row), active (the key of the row that is active now). A click on a row makes it active and no more, so that
 * its text can be selected.
 */
export class VTable<R> extends Part {
  static override properties = {
    rows: { attribute: false },
    columns: { attribute: false },
    card: { attribute: false },
    key: { attribute: false },
    label: {},
    sort: {},
    down: { type: Boolean },
    rowHeight: { type: Number },
    active: {},
    first: { state: true },
    count: { state: true },
    room: { state: true },
    rest: { state: true },
    printing: { state: true },
  };
  declare rows: R[];
  declare columns: Column<R>[];
  declare card: ((row: R) => TemplateResult) | undefined; // for narrow windows: a row is this instead of cells
  declare key: (row: R) => string;
  declare label: string;
  declare sort: string;
  declare down: boolean;
  declare rowHeight: number;
  declare active: string; // the key of the active row
  declare first: number;
  declare count: number;
  declare room: number; // pixels for the columns
  declare rest: number; // pixels below the last whole row
  declare printing: boolean;
  private resized: ResizeObserver | undefined;
  private measured: { rows: R[]; wholes: Map<string, number>; at: number } | undefined;

  constructor() {
    super();
    this.rows = [];
    this.columns = [];
    this.key = String;
    this.label = "";
    this.sort = "";
    this.down = false;
    this.rowHeight = 40;
    this.active = "";
    this.first = 0;
    this.count = 40;
    this.room = this.rest = 0;
    this.printing = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.resized = new ResizeObserver(() => this.measure());
    this.resized.observe(this);
    addEventListener("beforeprint", this.print);
    addEventListener("afterprint", this.print);
  }

  override disconnectedCallback(): void {
    this.resized?.disconnect();
    removeEventListener("beforeprint", this.print);
    removeEventListener("afterprint", this.print);
    super.disconnectedCallback();
  }

  // On paper there is no scrolling: all rows are there.
  private readonly print = (e: Event): void => {
    this.printing = e.type === "beforeprint";
    this.room = this.printing ? Math.min(this.room, paper) : (this.grid?.clientWidth ?? 0) - 2 * side;
    this.performUpdate(); // the browser takes the page as it is when this returns
  };

  private get grid(): HTMLElement | null {
    return this.querySelector<HTMLElement>(".vgrid");
  }

  private get headHeight(): number {
    return this.querySelector<HTMLElement>(".vhead")?.offsetHeight ?? 0;
  }

  private readonly measure = (): void => {
    const grid = this.grid;
    if (!grid || this.printing) return;
    remeasure();
    this.first = Math.max(0, Math.floor(grid.scrollTop / this.rowHeight / step) * step - spare);
    this.count = Math.min(most, Math.ceil(grid.clientHeight / this.rowHeight) + 2 * spare + step);
    this.room = grid.clientWidth - 2 * side;
    // Whole rows: one that is cut at the window's edge looks like a fault.
    this.rest = this.card || this.rows.length * this.rowHeight + this.headHeight <= this.clientHeight ? 0 : (this.clientHeight - this.headHeight) % this.rowHeight;
  };

  private seenOnce = false;

  protected override updated(changed: Map<string, unknown>): void {
    if (changed.has("rowHeight") || changed.has("rows")) this.measure();
    if (!this.seenOnce && this.active && this.rows.length) {
      // Back from elsewhere: where the person was.
      this.seenOnce = true;
      if (this.activeIndex >= 0) this.show(this.activeIndex);
    }
  }

  /** activeRow is the row that keys act on. */
  get activeRow(): R | undefined {
    return this.rows[this.activeIndex];
  }

  private get activeIndex(): number {
    return this.active ? this.rows.findIndex((r) => this.key(r) === this.active) : -1;
  }

  /** enter puts the focus on the list, at its first row if none is active. */
  enter(): void {
    if (this.activeIndex < 0) this.go(0);
    this.grid?.focus({ preventScroll: true });
  }

  private activate(key: string): void {
    if (key === this.active) return;
    this.active = key;
    this.dispatchEvent(new CustomEvent("active", { detail: key }));
  }

  private go(to: number): void {
    const i = Math.min(Math.max(to, 0), this.rows.length - 1);
    const row = this.rows[i];
    if (!row) return;
    this.activate(this.key(row));
    this.show(i);
  }

  private show(i: number): void {
    const grid = this.grid;
    if (!grid) return;
    const top = i * this.rowHeight;
    const room = grid.clientHeight - this.headHeight;
    if (top < grid.scrollTop) grid.scrollTop = top;
    else if (top + this.rowHeight > grid.scrollTop + room) grid.scrollTop = top + this.rowHeight - room;
  }

  private keydown(e: KeyboardEvent): void {
    const grid = this.grid;
    if (e.ctrlKey || e.metaKey || e.altKey || !grid || e.target !== grid) return;
    const at = this.activeIndex;
    const page = Math.max(1, Math.floor(grid.clientHeight / this.rowHeight) - 2);
    const places: Record<string, number> = {
      ArrowDown: at + 1, ArrowUp: at - 1, PageDown: at + page, PageUp: at - page, Home: 0, End: this.rows.length - 1,
    };
    const to = places[e.key];
    const row = this.activeRow;
    if (to !== undefined) {
      e.preventDefault();
      if (e.key === "ArrowUp" && at === 0) this.dispatchEvent(new CustomEvent("leave"));
      else this.go(to);
    } else if (row && (e.key === "Enter" || e.key === " " || e.key === "i")) {
      e.preventDefault();
      this.dispatchEvent(new CustomEvent(e.key === "Enter" ? "open" : "details", { detail: row }));
    } else if (row && (e.key === "m" || e.key === "ContextMenu" || (e.key === "F10" && e.shiftKey))) {
      e.preventDefault();
      this.dispatchEvent(new CustomEvent("menu", { detail: { row, at: document.getElementById(`row-${this.active}`) ?? grid } }));
    }
  }

  /** wholes are the widths with which nothing is cut. */
  private wholes(): Map<string, number> {
    const m = this.measured;
    if (m?.rows === this.rows) return m.wholes;
    // A list of thousands changes each second, and its widths hardly.
    if (m && m.rows.length === this.rows.length && this.rows.length > many && performance.now() - m.at < remeasureEvery) return m.wholes;
    const wholes = new Map<string, number>();
    for (const c of this.columns) {
      let content = 0;
      if (c.wide) for (const r of this.rows) content = Math.max(content, c.wide(r));
      if (c.text) {
        const text = c.text;
        const texts = (function* (rows: R[]) {
          for (const r of rows) yield text(r);
        })(this.rows);
        for (const t of longest(texts)) content = Math.max(content, t === "" ? 0 : textWidth(t, "m", c.strong ? 600 : 400) + (c.extra ?? 0));
      }
      const head = c.plain ? 0 : textWidth(c.title, "s", 500) + (c.sortable ? arrow : 4);
      wholes.set(c.name, c.bare && content === 0 ? 0 : Math.ceil(Math.max(content, head)) + 2);
    }
    this.measured = { rows: this.rows, wholes, at: performance.now() };
    return wholes;
  }

  private head(c: Column<R>): TemplateResult {
    const on = this.sort === c.name;
    const by = on ? (this.down ? "descending" : "ascending") : c.sortable ? "none" : nothing;
    const title = c.plain ? html`<span class="visually-hidden">${c.title}</span>` : c.title;
    return html`<div class="vcell c-${c.name} ${c.end ? "at-end" : ""}" role="columnheader" aria-sort=${by}>
      ${c.sortable
        ? html`<button class="sort" type="button" @click=${() => this.dispatchEvent(new CustomEvent("sort", { detail: c.name }))}>
            ${title}${on ? icon(this.down ? "down" : "up") : nothing}
          </button>`
        : title}
    </div>`;
  }

  private row(r: R, i: number, shown: readonly { c: Column<R>; w: number }[]): TemplateResult {
    const key = this.key(r);
    const on = key === this.active;
    // .style sets the property: a style attribute is what the page's policy forbids.
    return html`<div class="vrow ${on ? "active" : ""}" role="row" id=${`row-${key}`} aria-rowindex=${i + 2}
      aria-selected=${on ? "true" : "false"} .style=${`height:${this.rowHeight}px;transform:translateY(${i * this.rowHeight}px)`}
      @click=${() => this.activate(key)}>
      ${this.card
        ? html`<div class="vcard" role="gridcell">${this.card(r)}</div>`
        : shown.map(({ c, w }) => html`<div class="vcell c-${c.name} ${c.end ? "at-end" : ""}" role="gridcell">${c.cell(r, w)}</div>`)}
    </div>`;
  }

  override render() {
    const wholes = this.card || !this.room ? undefined : this.wholes();
    const needs = this.columns.map((c) => {
      const whole = this.printing && c.plain ? 0 : (wholes?.get(c.name) ?? 0); // nobody presses a button on paper
      return { whole, least: c.least ?? whole, rank: c.rank ?? 0, first: c.first ?? false, grows: c.grows ?? false };
    });
    const widths = wholes ? fit(needs, this.room, gap) : [];
    const shown = this.columns.map((c, i) => ({ c, w: widths[i] ?? 0 })).filter((s) => s.w > 0);
    // Rows keep no key: while scrolling, the elements stay and only what is in them changes.
    const first = this.printing ? 0 : Math.min(this.first, Math.max(0, this.rows.length - this.count));
    const seen = this.card || wholes ? this.rows.slice(first, first + (this.printing ? mostPrinted : this.count)) : [];
    const on = seen.some((r) => this.key(r) === this.active);
    return html`<div class="vgrid ${this.card ? "cards" : ""}" role="grid" tabindex="0" aria-label=${this.label} aria-rowcount=${this.rows.length + 1}
      aria-colcount=${this.card ? 1 : shown.length} aria-activedescendant=${on ? `row-${this.active}` : nothing}
      .style=${`--columns:${shown.map((s) => `${s.w.toFixed(1)}px`).join(" ")};bottom:${this.rest}px`}
      @scroll=${this.measure} @keydown=${this.keydown}>
      <div class="vhead-group" role="rowgroup"><div class="vrow vhead" role="row" aria-rowindex="1">${this.card
        ? html`<div role="columnheader">${this.label}</div>`
        : shown.map(({ c }) => this.head(c))}</div></div>
      <div class="vbody" role="rowgroup" .style=${`height:${this.rows.length * this.rowHeight}px`}>
        ${seen.map((r, i) => this.row(r, first + i, shown))}
      </div>
    </div>`;
  }
}

customElements.define("sc-vtable", VTable);
