import { html, nothing, type TemplateResult } from "lit";
import { audit, auditExport, verifyAudit, type AuditFilter, type AuditRecord, type AuditVerdict } from "../api";
import { rowHeight } from "../ui/density";
import { count, date, exact } from "../ui/format";
import { icon } from "../ui/icon";
import { notice, skeleton } from "../ui/notice";
import { composing } from "../ui/typing";
import type { Column } from "../ui/vtable";
import "../ui/vtable";
import "./auditdetails";
import { narrow, Page, Place, valueOf } from "./page";
import { detailsPath, openDetails, showQuery } from "./route";

const pageSize = 200;
const enough = 30; // records after which searching stops until somebody asks for more
const pause = 250; // ms after the last key before the relay is asked

// What there is to filter by; a word without a dot stands for all below it. docs/audit.md says when
// each is written.
const types = [
  "scrier", "scrier.connect", "scrier.disconnect", "scrier.audit.rollback", "session", "session.watch", "session.kill",
  "operator", "operator.signin", "operator.signin_refused", "operator.signout", "operator.login", "operator.login_refused", "operator.link",
  "operator.passkey_add", "operator.passkey_remove", "operator.passkey_alarm", "operator.create", "operator.update", "operator.delete",
  "token", "token.create", "token.revoke", "envoy", "envoy.enrol", "envoy.enrol_refused", "envoy.revoke", "envoy.remove", "envoy.duplicate", "envoy.quarantine", "envoy.release", "envoy.host_keys_changed", "envoy.rdp_certificate_changed",
  "relay", "relay.start", "relay.stop",
];

type Wish = { type: string; operator: string; envoy: string; session: string; q: string };

/** Audit is the audit log, the newest record first. */
class Audit extends Page {
  static override properties = { ...Page.properties, wish: { state: true }, records: { state: true }, next: { state: true }, at: { state: true }, verdict: { state: true }, verifying: { state: true }, sort: { state: true }, down: { state: true }, single: { state: true }, filtering: { state: true } };
  declare wish: Wish;
  declare records: AuditRecord[] | undefined;
  declare next: string | undefined; // where the older records are
  declare at: number | undefined; // while searching: the record before which is looked
  declare verdict: AuditVerdict | undefined;
  declare verifying: boolean;
  declare sort: string;
  declare down: boolean;
  declare single: AuditRecord | undefined; // one that is looked at, and not in the list
  declare filtering: boolean; // the sheet with the filters is open
  private sought = "";
  private readonly place = new Place("audit");
  private timer: ReturnType<typeof setTimeout> | undefined;
  private round = 0;

  constructor() {
    super();
    const p = new URLSearchParams(location.search);
    const get = (k: string) => p.get(k) ?? "";
    this.wish = { type: get("type"), operator: get("operator"), envoy: get("envoy"), session: get("session"), q: get("q") };
    this.verifying = this.down = this.filtering = false;
    this.sort = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.read();
  }

  override disconnectedCallback(): void {
    clearTimeout(this.timer);
    super.disconnectedCallback();
  }

  protected override updated(): void {
    const d = this.querySelector<HTMLDialogElement>("dialog.sheet");
    if (d && !d.open) d.showModal();
  }

  private set(change: Partial<Wish>, wait = false): void {
    this.wish = { ...this.wish, ...change };
    showQuery(this.wish);
    this.round++; // what is being searched is not wanted any more
    clearTimeout(this.timer);
    this.timer = setTimeout(() => void this.read(), wait ? pause : 0);
  }

  /**
   * read asks for the newest records that fit, or for those that follow. The relay looks at a
   * bounded number of records at a time, so a filter that fits little takes several answers.
   */
  private async read(next?: string): Promise<void> {
    const round = ++this.round;
    const wish: AuditFilter = { ...this.wish, limit: pageSize };
    const had = next ? (this.records ?? []) : [];
    const found: AuditRecord[] = [];
    await this.attempt(async () => {
      do {
        const got = await audit(wish, next);
        if (round !== this.round) return;
        found.push(...got.value.reverse());
        next = got.next;
        this.next = next;
        this.at = Number(/[?&]before=(\d+)/.exec(next ?? "")?.[1] ?? 0);
        if (found.length || !next) this.records = [...had, ...found];
      } while (next && found.length < enough);
    });
    if (round === this.round) this.at = undefined;
  }

  private async verify(): Promise<void> {
    this.verifying = true;
    this.verdict = undefined;
    this.verdict = await this.attempt(() => verifyAudit());
    this.verifying = false;
  }

  override render(): TemplateResult {
    return html`<div class="page fill">
      <div class="title"><h1>Audit</h1>
        <div class="row end">
          <button class="button" type="button" ?disabled=${this.verifying} @click=${this.verify}>${this.verifying ? html`<span class="spinner"></span>Verifying…` : "Verify"}</button>
          <a class="button" href=${auditExport} download="audit.log">Export</a>
        </div>
      </div>
      <div role="status">${this.verdict ? this.result(this.verdict) : nothing}</div>
      ${this.failure ? notice(this.failure, () => void this.read()) : nothing}
      ${this.filters()} ${this.records ? this.list(this.records) : this.failure ? nothing : skeleton(this.at ? `Searching before record ${this.at.toLocaleString()}…` : "Loading the audit log…")}
      ${this.shown ? this.record(this.shown) : nothing}
    </div>`;
  }

  private result(v: AuditVerdict): TemplateResult {
    return v.ok
      ? html`<div class="notice ok">${icon("ok")}<div><p><strong>The log is whole: all ${v.records.toLocaleString()} records are what was written, and none is missing.</strong></p>
          <p>The relay checked this itself. To check it without trusting the relay, export the log and run <code>scrier audit verify</code> on another machine.</p></div></div>`
      : html`<div class="notice bad">${icon("warn")}<div><p><strong>The log does not verify.</strong></p><p>${v.detail}</p>
          <p>Export it now and keep the file: it is the evidence. Then compare it with the export you kept last (docs/audit.md).</p></div></div>`;
  }

  private filters(): TemplateResult {
    const w = this.wish;
    const field = (name: "operator" | "envoy" | "session", word: string) => html`<input class="input part" type="search" placeholder=${word} aria-label=${word} autocomplete="off" spellcheck="false"
      .value=${w[name]} @input=${(e: Event) => this.set({ [name]: valueOf(e).trim() }, true)} />`;
    const type = html`<select class="input part" aria-label="Type" @change=${(e: Event) => this.set({ type: valueOf(e) })}>
      <option value="" ?selected=${!w.type}>Every type</option>${[...new Set([...types, ...(w.type ? [w.type] : [])])].map((t) => html`<option value=${t} ?selected=${w.type === t}>${t.includes(".") ? t : `${t}.*`}</option>`)}
    </select>`;
    const others = html`${type}${field("operator", "Operator")}${field("envoy", "Machine")}${field("session", "Session")}`;
    const on = [w.type, w.operator, w.envoy, w.session].filter(Boolean).length;
    const close = () => (this.filtering = false);
    return html`<div class="tools" role="search">
      <div class="search">${icon("search")}<input class="input" type="search" data-search placeholder="Search" aria-label="Search in the records' text" autocomplete="off" spellcheck="false" .value=${w.q}
        @input=${(e: Event) => this.set({ q: valueOf(e) }, true)} @keydown=${this.searchKey} /><kbd aria-hidden="true">/</kbd></div>
      ${narrow.matches
        ? html`<button class="button" type="button" aria-haspopup="dialog" @click=${() => (this.filtering = true)}>Filters${on ? html` <span class="chip on">${on}</span>` : nothing}</button>`
        : others}
      <button class="button" type="button" @click=${() => this.read()}>Refresh</button>
    </div>
    ${this.filtering && narrow.matches
      ? html`<dialog class="sheet" aria-labelledby="sheet-title" @close=${close} @click=${(e: MouseEvent) => e.target === e.currentTarget && close()}><div class="body">
          <div class="row"><h2 id="sheet-title">Filters</h2><button class="button quiet icon end" type="button" aria-label="Close" @click=${close}>${icon("close")}</button></div>
          ${others}
          <div class="buttons"><button class="button" type="button" @click=${() => this.set({ type: "", operator: "", envoy: "", session: "" })}>Clear</button><button class="button primary" type="button" @click=${close}>Done</button></div>
        </div></dialog>`
      : nothing}`;
  }

  private list(records: AuditRecord[]): TemplateResult {
    const w = this.wish;
    const filtered = Object.values(w).some(Boolean);
    if (!records.length)
      return html`<div class="panel empty"><h2>${filtered ? "No record matches" : "The log is empty"}</h2>
        <p>${filtered ? "Nothing in the log matches all of these filters." : "The relay writes down who did what, from its first start on."}</p>
        ${filtered ? html`<button class="button" type="button" @click=${() => this.set({ type: "", operator: "", envoy: "", session: "", q: "" })}>Clear the filters</button>` : nothing}</div>`;
    return html`${this.table(records)}
      <div class="row under"><span class="muted small" role="status">${count(records.length, "record")}${this.next ? " so far" : ""}${this.next && this.sort && !inOrder.includes(this.sort) ? "; only these are sorted, and not the older ones" : ""}</span>
        ${this.at ? html`<span class="row muted small end"><span class="spinner"></span>Searching before record ${this.at.toLocaleString()}…</span>` : nothing}
        ${this.next && !this.at ? html`<button class="button slim end" type="button" ?disabled=${this.busy} @click=${() => this.read(this.next)}>Older records</button>` : nothing}</div>`;
  }

  private table(loaded: AuditRecord[]): TemplateResult {
    const records = this.sorted(loaded);
    return html`<sc-vtable class="panel audit" label="Audit records, newest first" .rows=${records} .columns=${columns} .key=${(r: AuditRecord) => String(r.seq)} .card=${narrow.matches ? card : undefined}
        .rowHeight=${narrow.matches ? 98 : rowHeight() - 4} sort=${this.sort} ?down=${this.down} active=${this.place.get()} @sort=${(e: CustomEvent<string>) => this.order(e.detail)} @active=${this.place.set}
        @open=${(e: CustomEvent<AuditRecord>) => openDetails(String(e.detail.seq))} @details=${(e: CustomEvent<AuditRecord>) => openDetails(String(e.detail.seq))}
        @menu=${(e: CustomEvent<{ row: AuditRecord }>) => openDetails(String(e.detail.row.seq))}
        @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`;
  }

  private order(by: string): void {
    this.down = this.sort === by && !this.down;
    this.sort = by;
  }

  private made: { of: AuditRecord[]; sort: string; down: boolean; rows: AuditRecord[] } | undefined;

  private sorted(records: AuditRecord[]): AuditRecord[] {
    if (this.made?.of === records && this.made.sort === this.sort && this.made.down === this.down) return this.made.rows;
    const o = orders[this.sort] ?? orders["seq"]!;
    const sign = this.down ? -1 : 1;
    const rows = [...records].sort((a, b) => sign * o(a, b) || b.seq - a.seq);
    this.made = { of: records, sort: this.sort, down: this.down, rows };
    return rows;
  }

  // record is the one that the address asks for; it may not be among those that are loaded.
  private record(seq: string): TemplateResult | typeof nothing {
    const r = this.records?.find((r) => String(r.seq) === seq) ?? (this.single && String(this.single.seq) === seq ? this.single : undefined);
    if (r) return html`<scrier-record .record=${r}></scrier-record>`;
    if (this.records && this.sought !== seq && /^\d{1,15}$/.test(seq)) {
      this.sought = seq;
      void audit({ from: Number(seq), limit: 1 }).then((got) => (this.single = got.value[0]), () => {});
    }
    return nothing;
  }

  private readonly searchKey = (e: KeyboardEvent): void => {
    if (composing(e)) return;
    if (e.key === "Escape" && this.wish.q) this.set({ q: "" });
    else if (e.key === "ArrowDown" || e.key === "Enter") this.querySelector<HTMLElement & { enter(): void }>("sc-vtable")?.enter();
    else return;
    e.preventDefault();
  };
}

const what = (r: AuditRecord): string => r.detail || Object.entries(r.fields ?? {}).map(([k, v]) => `${k}: ${v}`).join(", ");
const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const by = (f: (r: AuditRecord) => string) => (a: AuditRecord, b: AuditRecord) => text(f(a), f(b));

const inOrder = ["seq", "time"]; // the log's own order: what is older comes behind

// orders are the ways to sort the records that are loaded; equal ones come newest first.
const orders: Record<string, (a: AuditRecord, b: AuditRecord) => number> = {
  seq: (a, b) => b.seq - a.seq,
  time: (a, b) => b.seq - a.seq,
  type: by((r) => r.type),
  operator: by((r) => r.operator),
  envoy: by((r) => r.envoy_name || r.envoy_id),
  source: by((r) => r.source),
  code: by((r) => r.code),
  detail: by(what),
};

const columns: Column<AuditRecord>[] = (
  [
    { name: "seq", title: "No.", cell: (r) => html`<span class="num muted">${r.seq}</span>`, text: (r) => String(r.seq), rank: 7, end: true },
    { name: "time", title: "Time", cell: (r) => html`<span class="num" title=${exact(r.time)}>${date(r.time)}</span>`, text: (r) => date(r.time), extra: 4 },
    { name: "type", title: "Type", cell: (r) => html`<a class="clip name" tabindex="-1" href=${detailsPath(String(r.seq))} title=${r.type} aria-label=${`Record ${r.seq}: ${r.type}`}>${r.type}</a>`, text: (r) => r.type, strong: true, least: 200, first: true },
    { name: "operator", title: "Operator", cell: (r) => html`<span class="clip" title=${r.operator}>${r.operator}</span>`, text: (r) => r.operator, least: 110, rank: 2, bare: true },
    { name: "envoy", title: "Machine", cell: (r) => html`<span class="clip" title=${r.envoy_name || r.envoy_id}>${r.envoy_name || r.envoy_id}</span>`, text: (r) => r.envoy_name || r.envoy_id, least: 140, rank: 3, bare: true },
    { name: "code", title: "Code", cell: (r) => html`<span class="clip ${r.code && r.code !== "ok" ? "warn-text" : ""}" title=${r.code}>${r.code}</span>`, text: (r) => r.code, least: 100, rank: 5, bare: true },
    { name: "source", title: "Source", cell: (r) => html`<span class="clip num" title=${r.source}>${r.source}</span>`, text: (r) => r.source, extra: 4, least: 120, rank: 6, bare: true },
    { name: "detail", title: "Detail", cell: (r) => html`<span class="clip muted" title=${what(r)}>${what(r)}</span>`, text: what, least: 170, rank: 4, grows: true, bare: true },
  ] satisfies Column<AuditRecord>[]
).map((c) => ({ ...c, sortable: true }));

function card(r: AuditRecord): TemplateResult {
  return html`<div class="line"><a class="clip name" tabindex="-1" href=${detailsPath(String(r.seq))} aria-label=${`Record ${r.seq}: ${r.type}`}>${r.type}</a>${r.code && r.code !== "ok" ? html`<span class="end small warn-text clip">${r.code}</span>` : nothing}</div>
    <div class="line small"><span class="clip">${[r.operator, r.envoy_name].filter(Boolean).join(" on ") || what(r) || r.source}</span></div>
    <div class="line small muted num"><span title=${exact(r.time)}>${date(r.time)}</span></div>`;
}

customElements.define("scrier-audit", Audit);
