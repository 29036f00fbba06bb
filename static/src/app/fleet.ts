import { html, nothing, type TemplateResult } from "lit";
import type { Envoy, EnvoyState } from "../api";
import { icon } from "../ui/icon";
import { loading, notice } from "../ui/notice";
import { Now } from "../ui/now";
import type { VTable } from "../ui/vtable";
import "../ui/vtable";
import { openPath, orders, reachable, stateWord } from "./envoy";
import { showEnvoy } from "./envoydetails";
import { columns } from "./fleetcolumns";
import { live } from "./live";
import { narrow, Page, valueOf } from "./page";
import { showQuery } from "./route";
import { Selection, type Wish } from "./selection";

const states: readonly EnvoyState[] = ["quarantined", "online", "stale", "offline", "revoked"];

/** Fleet is the live list of envoys. */
class Fleet extends Page {
  static override properties = { ...Page.properties, wish: { state: true } };
  declare wish: Wish;
  private readonly selection = new Selection();
  private readonly now = new Now(this);
  private rows: Envoy[] = [];
  private made: { version: number; wish: Wish } | undefined; // what rows were made of

  constructor() {
    super();
    const q = new URLSearchParams(location.search);
    const state = q.get("state") as EnvoyState | null;
    const sort = q.get("sort") ?? "";
    this.wish = {
      q: q.get("q") ?? "",
      state: state && states.includes(state) ? state : "",
      labels: (q.get("label") ?? "").split(",").filter(Boolean),
      sort: sort in orders ? sort : "hostname",
      down: q.get("down") === "1",
    };
  }

  private set(change: Partial<Wish>): void {
    this.wish = { ...this.wish, ...change };
    const w = this.wish;
    showQuery({ q: w.q, state: w.state, label: w.labels.join(","), sort: w.sort === "hostname" ? "" : w.sort, down: w.down ? "1" : "" });
  }

  private toggle(label: string): void {
    const l = this.wish.labels;
    this.set({ labels: l.includes(label) ? l.filter((x) => x !== label) : [...l, label] });
  }

  private select(): void {
    if (this.made?.version === live.version && this.made.wish === this.wish) return;
    if (this.made?.version !== live.version) this.selection.take(live.envoys);
    this.rows = this.selection.find(this.wish);
    this.made = { version: live.version, wish: this.wish };
  }

  private get table(): VTable<Envoy> | null {
    return this.querySelector<VTable<Envoy>>("sc-vtable");
  }

  override render() {
    this.select();
    return html`<div class="page fill">
      <div class="title"><h1>Fleet</h1>
        ${!live.loaded && live.envoys.size ? html`<span class="row muted" role="status"><span class="spinner"></span>Reading…</span>` : nothing}
        ${live.may("make enrolment tokens") ? html`<a class="button primary end" href="/enrol">${icon("enrol")}Enrol a machine</a>` : nothing}
      </div>
      ${live.failure ? notice(live.failure, () => void live.readEnvoys()) : nothing}
      ${!live.loaded && !live.envoys.size && !live.failure ? loading("Reading the fleet…") : live.loaded && !live.envoys.size ? this.none() : this.list()}
    </div>`;
  }

  private none(): TemplateResult {
    return html`<div class="panel empty">
      <h2>No machine is enrolled yet</h2>
      ${live.may("make enrolment tokens")
        ? html`<p>A machine becomes an envoy when you paste one command on it. It needs no open port: its agent calls this relay.</p>
            <a class="button primary" href="/enrol">${icon("enrol")}Enrol the first machine</a>`
        : html`<p>When an administrator enrols a machine, it appears here by itself.</p>`}
    </div>`;
  }

  private list(): TemplateResult {
    const w = this.wish;
    const cols = columns({
      now: this.now.value,
      kinds: live.may("open sessions") ? (live.relay?.kinds ?? []) : [],
      on: w.labels,
      toggle: (l) => this.toggle(l),
      details: (e) => this.details(e),
      sortable: !narrow.matches, // a narrow list has no head, but a choice of its own
      shown: innerWidth < 1800 ? 2 : innerWidth < 2560 ? 3 : 6,
    });
    return html`${this.filters()}
      <p class="visually-hidden" role="status">${this.rows.length} of ${live.envoys.size} envoys</p>
      ${this.rows.length
        ? html`<sc-vtable class="panel fleet kinds-${Math.min(live.relay?.kinds.length ?? 1, 3)}" label="Envoys" .rows=${this.rows} .columns=${cols} .key=${(e: Envoy) => e.id} .rowHeight=${narrow.matches ? 68 : 40}
            sort=${w.sort} ?down=${w.down}
            @sort=${(e: CustomEvent<string>) => this.set({ sort: e.detail, down: w.sort === e.detail && !w.down })}
            @open=${(e: CustomEvent<Envoy>) => this.open(e.detail)} @details=${(e: CustomEvent<Envoy>) => this.details(e.detail)}
            @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`
        : html`<div class="panel empty"><h2>No envoy fits</h2><p>None of the ${live.envoys.size.toLocaleString()} envoys has all of this.</p>
            <button class="button" type="button" @click=${this.clear}>Clear the search and filters</button></div>`}`;
  }

  private filters(): TemplateResult {
    const w = this.wish;
    const c = this.selection.counts;
    const rest = this.selection.labels.filter((l) => !w.labels.includes(l)).slice(0, 200);
    const state = (s: EnvoyState | "", word: string, n: number) => html`<button class="chip" type="button" aria-pressed=${w.state === s} @click=${() => this.set({ state: s })}>
      ${word} <span class="num">${n.toLocaleString()}</span></button>`;
    return html`<div class="tools" role="search">
      <div class="search">${icon("search")}
        <input class="input" type="search" data-search placeholder="Search" aria-label="Search by hostname, id, label or system" autocomplete="off" spellcheck="false"
          .value=${w.q} @input=${(e: Event) => this.set({ q: valueOf(e) })} @keydown=${this.searchKey} />
        <kbd aria-hidden="true">/</kbd>
      </div>
      <div class="row" role="group" aria-label="Status">
        ${state("", "All", c.all)}${states.filter((s) => c[s] || w.state === s).map((s) => state(s, stateWord(s), c[s]))}
      </div>
      <div class="row" role="group" aria-label="Labels">
        ${w.labels.map((l) => html`<button class="chip on" type="button" aria-label=${`Do not filter by ${l} any more`} @click=${() => this.toggle(l)}><span>${l}</span>${icon("close")}</button>`)}
        ${rest.length
          ? html`<select class="input slim" aria-label="Filter by a label" @change=${(e: Event) => {
              if (valueOf(e)) this.toggle(valueOf(e));
              (e.target as HTMLSelectElement).value = "";
            }}><option value="">Label…</option>${rest.map((l) => html`<option>${l}</option>`)}</select>`
          : nothing}
        <select class="input slim only-narrow" aria-label="Sort by" @change=${(e: Event) => this.set({ sort: valueOf(e), down: false })}>
          ${Object.entries(orders).map(([name, o]) => html`<option value=${name} ?selected=${w.sort === name}>By ${o.title.toLowerCase()}</option>`)}
        </select>
      </div>
    </div>`;
  }

  private readonly clear = () => this.set({ q: "", state: "", labels: [] });

  private readonly searchKey = (e: KeyboardEvent): void => {
    const only = this.rows.length === 1 ? this.rows[0] : undefined;
    if (e.key === "Escape" && this.wish.q) this.set({ q: "" });
    else if (e.key === "Enter" && only) this.open(only);
    else if (e.key === "Enter" || e.key === "ArrowDown") this.table?.enter();
    else return;
    e.preventDefault();
  };

  private open(e: Envoy): void {
    if (live.may("open sessions") && reachable(e)) location.assign(openPath(e));
    else this.details(e);
  }

  private details(e: Envoy): void {
    showEnvoy(e.id, (l) => this.toggle(l));
  }
}

customElements.define("scrier-fleet", Fleet);
