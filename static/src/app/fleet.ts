import { html, nothing, type TemplateResult } from "lit";
import type { Envoy, EnvoyState, Session } from "../api";
import { rowHeight } from "../ui/density";
import { count } from "../ui/format";
import { icon } from "../ui/icon";
import { menu } from "../ui/menu";
import { notice, skeleton } from "../ui/notice";
import { Now } from "../ui/now";
import { composing } from "../ui/typing";
import type { VTable } from "../ui/vtable";
import "../ui/vtable";
import { orders, reachable } from "./envoy";
import { dropEnvoy, revoke } from "./envoydetails";
import { labelFilter, sheet, stateChips, states, type Choice } from "./filters";
import { card, columns, type Hands } from "./fleetcolumns";
import { live } from "./live";
import { offers } from "./offers";
import { narrow, Page, Place, valueOf } from "./page";
import { openDetails, showQuery } from "./route";
import { Selection, type Wish } from "./selection";
import { viewPath } from "./session";

/** Fleet is the live list of envoys. */
class Fleet extends Page {
  static override properties = { ...Page.properties, wish: { state: true }, filtering: { state: true } };
  declare wish: Wish;
  declare filtering: boolean; // the sheet with the filters is open
  private readonly selection = new Selection();
  private readonly now = new Now(this);
  private readonly place = new Place("fleet");
  private rows: Envoy[] = [];
  private made: { version: number; wish: Wish } | undefined; // what rows were made of

  constructor() {
    super();
    const q = new URLSearchParams(location.search);
    const state = q.get("state") as EnvoyState | null;
    const sort = q.get("sort") ?? "";
    this.filtering = false;
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

  private get choice(): Choice {
    return { wish: this.wish, selection: this.selection, set: (c) => this.set(c), toggle: (l) => this.toggle(l) };
  }

  private get hands(): Hands {
    const running = new Map<string, Session[]>();
    if (live.may("open sessions")) for (const s of live.mine) running.set(s.envoy_id, [...(running.get(s.envoy_id) ?? []), s]);
    return {
      now: this.now.value,
      kinds: live.may("open sessions") ? (live.relay?.kinds ?? []) : [],
      on: this.wish.labels,
      common: this.selection.common,
      weight: this.selection.weight,
      running,
      toggle: (l) => this.toggle(l),
      menu: (e, at) => this.menu(e, at),
    };
  }

  protected override updated(): void {
    const d = this.querySelector<HTMLDialogElement>("dialog.sheet");
    if (d && !d.open) d.showModal();
  }

  override render() {
    this.select();
    return html`<div class="page fill">
      <div class="title"><h1>Fleet</h1>
        ${!live.loaded && live.envoys.size ? html`<span class="muted" role="status">Loading the rest…</span>` : nothing}
        ${live.may("make enrolment tokens") ? html`<a class="button primary end" href="/enrol">${icon("enrol")}Enrol a machine</a>` : nothing}
      </div>
      ${live.failure ? notice(live.failure, () => void live.readEnvoys()) : nothing}
      ${!live.loaded && !live.envoys.size && !live.failure ? skeleton("Loading the fleet…") : live.loaded && !live.envoys.size ? this.none() : this.list()}
      ${this.shown ? html`<scrier-envoy .envoy=${this.shown}></scrier-envoy>` : nothing}
    </div>`;
  }

  private none(): TemplateResult {
    return html`<div class="panel empty">
      <h2>No machine is enrolled yet</h2>
      ${live.may("make enrolment tokens")
        ? html`<p>A machine joins when you paste one command on it. It needs no open port: its agent calls this relay.</p>
            <a class="button primary" href="/enrol">${icon("enrol")}Enrol the first machine</a>`
        : html`<p>When an administrator enrols a machine, it appears here by itself.</p>`}
    </div>`;
  }

  private list(): TemplateResult {
    const w = this.wish;
    const hands = this.hands;
    const two = innerWidth < 700 && this.rows.some((e) => e.hostname.length * 8.2 > innerWidth - 70); // a name of two lines
    return html`${this.filters()}
      <p class="visually-hidden" role="status">${this.rows.length} of ${count(live.envoys.size, "envoy")}</p>
      ${this.rows.length
        ? html`<sc-vtable class="panel fleet ${two ? "two" : ""}" label="Envoys" .rows=${this.rows} .columns=${columns(hands)} .card=${narrow.matches ? card(hands) : undefined} .key=${(e: Envoy) => e.id}
            .rowHeight=${narrow.matches ? (two ? 126 : 106) : rowHeight()} sort=${w.sort} ?down=${w.down} active=${this.place.get()}
            @sort=${(e: CustomEvent<string>) => this.set({ sort: e.detail, down: w.sort === e.detail && !w.down })}
            @active=${this.place.set} @open=${(e: CustomEvent<Envoy>) => this.open(e.detail)} @details=${(e: CustomEvent<Envoy>) => openDetails(e.detail.id)}
            @menu=${(e: CustomEvent<{ row: Envoy; at: Element }>) => this.menu(e.detail.row, e.detail.at)}
            @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`
        : html`<div class="panel empty"><h2>No machine matches</h2><p>None of the ${live.envoys.size.toLocaleString()} machines matches all of these filters.</p>
            <button class="button" type="button" @click=${this.clear}>Clear the search and filters</button></div>`}`;
  }

  private filters(): TemplateResult {
    const w = this.wish;
    const on = (w.state ? 1 : 0) + w.labels.length;
    return html`<div class="tools" role="search">
      <div class="search">${icon("search")}
        <input class="input" type="search" data-search placeholder="Search" aria-label="Search by hostname, id, label or system" autocomplete="off" spellcheck="false"
          .value=${w.q} @input=${(e: Event) => this.set({ q: valueOf(e) })} @keydown=${this.searchKey} />
        <kbd aria-hidden="true">/</kbd>
      </div>
      ${narrow.matches
        ? html`<button class="button" type="button" aria-haspopup="dialog" @click=${() => (this.filtering = true)}>Filters${on ? html` <span class="chip on">${on}</span>` : nothing}</button>`
        : html`${stateChips(this.choice)}${labelFilter(this.choice)}`}
    </div>
    ${this.filtering ? sheet(this.choice, () => (this.filtering = false), this.rows.length) : nothing}`;
  }

  private readonly clear = () => this.set({ q: "", state: "", labels: [] });

  private readonly searchKey = (e: KeyboardEvent): void => {
    const only = this.rows.length === 1 ? this.rows[0] : undefined;
    if (composing(e)) return;
    if (e.key === "Escape" && this.wish.q) this.set({ q: "" });
    else if (e.key === "Enter" && only) this.open(only);
    else if (e.key === "Enter" || e.key === "ArrowDown") this.table?.enter();
    else return;
    e.preventDefault();
  };

  private menu(e: Envoy, at: Element): void {
    const { kinds, running } = this.hands;
    const change = live.may("change envoys");
    menu(at, `Actions for ${e.hostname}`, [
      { word: "Details", icon: "info", go: () => openDetails(e.id) },
      ...(running.get(e.id) ?? []).map((s) => ({ word: `Return to ${s.login || "your session"}`, icon: "shell" as const, href: viewPath(s) })),
      ...(reachable(e) ? offers(e, kinds).map((o) => ({ word: o.title, icon: o.kind === "ssh" ? ("shell" as const) : o.kind === "files" ? ("files" as const) : ("screen" as const), href: o.path })) : []),
      live.may("see sessions") && { word: "Sessions", icon: "sessions", href: `/sessions?q=${encodeURIComponent(e.hostname)}` },
      live.may("see the audit log") && { word: "Audit records", icon: "audit", href: `/audit?envoy=${e.id}` },
      change && e.state !== "revoked" && { word: "Revoke…", danger: true, go: () => void revoke(e) },
      change && { word: "Remove…", danger: true, go: () => void dropEnvoy(e) },
    ]);
  }

  private open(e: Envoy): void {
    const o = live.may("open sessions") && reachable(e) ? offers(e, live.relay?.kinds ?? [])[0] : undefined;
    if (o) location.assign(o.path);
    else openDetails(e.id);
  }
}

customElements.define("scrier-fleet", Fleet);
