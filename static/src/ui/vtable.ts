import { html, nothing, type TemplateResult } from "lit";
import { Part } from "./element";
import { icon } from "./icon";

/** Column is one of a table's columns; css gives its width by its name. */
export type Column<R> = {
  name: string;
  title: string;
  cell: (row: R) => unknown;
  sortable?: boolean;
  plain?: boolean; // the title is only for screen readers
};

const most = 250; // rows in the document, whatever the layout claims
const spare = 6; // rows above and below what is seen, so that a fast wheel shows no gaps
const step = 4; // rows that are scrolled before the document changes

/**
 * VTable shows a list of any length: all rows have one height, and only those that are seen are in
 * the document. The keys move an active row (aria-activedescendant), so that focus stays on the
 * grid while rows come and go. Links in rows are for the mouse: Enter and the details do the same.
 *
 * It tells: open (Enter), details (a click, Space, i), sort (a column's name), leave (up from the
 * first row).
 */
export class VTable<R> extends Part {
  static override properties = {
    rows: { attribute: false },
    columns: { attribute: false },
    key: { attribute: false },
    label: {},
    sort: {},
    down: { type: Boolean },
    rowHeight: { type: Number },
    active: { state: true },
    first: { state: true },
    count: { state: true },
  };
  declare rows: R[];
  declare columns: Column<R>[];
  declare key: (row: R) => string;
  declare label: string;
  declare sort: string;
  declare down: boolean;
  declare rowHeight: number;
  declare active: string; // the key of the active row
  declare first: number;
  declare count: number;
  private resized: ResizeObserver | undefined;

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
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.resized = new ResizeObserver(() => this.measure());
    this.resized.observe(this);
  }

  override disconnectedCallback(): void {
    this.resized?.disconnect();
    super.disconnectedCallback();
  }

  private get grid(): HTMLElement | null {
    return this.querySelector<HTMLElement>(".vgrid");
  }

  private get headHeight(): number {
    return this.querySelector<HTMLElement>(".vhead")?.offsetHeight ?? 0;
  }

  private measure(): void {
    const grid = this.grid;
    if (!grid) return;
    this.first = Math.max(0, Math.floor(grid.scrollTop / this.rowHeight / step) * step - spare);
    this.count = Math.min(most, Math.ceil(grid.clientHeight / this.rowHeight) + 2 * spare + step);
  }

  protected override updated(changed: Map<string, unknown>): void {
    if (changed.has("rowHeight") || changed.has("rows")) this.measure();
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

  private go(to: number): void {
    const grid = this.grid;
    const i = Math.min(Math.max(to, 0), this.rows.length - 1);
    const row = this.rows[i];
    if (!grid || !row) return;
    this.active = this.key(row);
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
    if (to !== undefined) {
      e.preventDefault();
      if (e.key === "ArrowUp" && at === 0) this.dispatchEvent(new CustomEvent("leave"));
      else this.go(to);
    } else if (this.activeRow && (e.key === "Enter" || e.key === " " || e.key === "i")) {
      e.preventDefault();
      this.dispatchEvent(new CustomEvent(e.key === "Enter" ? "open" : "details", { detail: this.activeRow }));
    }
  }

  private clicked(row: R, e: MouseEvent): void {
    this.active = this.key(row);
    if ((e.target as Element).closest("a, button") || getSelection()?.toString()) return;
    this.dispatchEvent(new CustomEvent("details", { detail: row }));
  }

  private head(c: Column<R>): TemplateResult {
    const on = this.sort === c.name;
    const by = on ? (this.down ? "descending" : "ascending") : c.sortable ? "none" : nothing;
    const title = c.plain ? html`<span class="visually-hidden">${c.title}</span>` : c.title;
    return html`<div class="vcell c-${c.name}" role="columnheader" aria-sort=${by}>
      ${c.sortable
        ? html`<button class="sort" type="button" @click=${() => this.dispatchEvent(new CustomEvent("sort", { detail: c.name }))}>
            ${title}${on ? icon(this.down ? "down" : "up") : nothing}
          </button>`
        : title}
    </div>`;
  }

  private row(r: R, i: number): TemplateResult {
    const on = this.key(r) === this.active;
    // .style sets the property: a style attribute is what the page's policy forbids.
    return html`<div class="vrow ${on ? "active" : ""}" role="row" id=${`row-${this.key(r)}`} aria-rowindex=${i + 2}
      aria-selected=${on ? "true" : "false"} .style=${`height:${this.rowHeight}px;transform:translateY(${i * this.rowHeight}px)`}
      @click=${(e: MouseEvent) => this.clicked(r, e)}>
      ${this.columns.map((c) => html`<div class="vcell c-${c.name}" role="gridcell">${c.cell(r)}</div>`)}
    </div>`;
  }

  override render() {
    // Rows keep no key: while scrolling, the elements stay and only what is in them changes.
    const first = Math.min(this.first, Math.max(0, this.rows.length - this.count));
    const seen = this.rows.slice(first, first + this.count);
    const on = seen.some((r) => this.key(r) === this.active);
    return html`<div class="vgrid" role="grid" tabindex="0" aria-label=${this.label} aria-rowcount=${this.rows.length + 1}
      aria-colcount=${this.columns.length} aria-activedescendant=${on ? `row-${this.active}` : nothing}
      @scroll=${this.measure} @keydown=${this.keydown}>
      <div class="vhead-group" role="rowgroup"><div class="vrow vhead" role="row" aria-rowindex="1">${this.columns.map((c) => this.head(c))}</div></div>
      <div class="vbody" role="rowgroup" .style=${`height:${this.rows.length * this.rowHeight}px`}>
        ${seen.map((r, i) => this.row(r, first + i))}
      </div>
    </div>`;
  }
}

customElements.define("sc-vtable", VTable);
