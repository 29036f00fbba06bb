import { html, nothing, type TemplateResult } from "lit";
import { audit, auditExport, verifyAudit, type AuditFilter, type AuditRecord, type AuditVerdict } from "../api";
import { date } from "../ui/format";
import { icon } from "../ui/icon";
import { loading, notice } from "../ui/notice";
import type { Column } from "../ui/vtable";
import "../ui/vtable";
import { showRecord } from "./auditdetails";
import { narrow, Page, valueOf } from "./page";
import { showQuery } from "./route";

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
  static override properties = { ...Page.properties, wish: { state: true }, records: { state: true }, next: { state: true }, at: { state: true }, verdict: { state: true }, verifying: { state: true } };
  declare wish: Wish;
  declare records: AuditRecord[] | undefined;
  declare next: string | undefined; // where the older records are
  declare at: number | undefined; // while searching: the record before which is looked
  declare verdict: AuditVerdict | undefined;
  declare verifying: boolean;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private round = 0;

  constructor() {
    super();
    const p = new URLSearchParams(location.search);
    const get = (k: string) => p.get(k) ?? "";
    this.wish = { type: get("type"), operator: get("operator"), envoy: get("envoy"), session: get("session"), q: get("q") };
    this.verifying = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.read();
  }

  override disconnectedCallback(): void {
    clearTimeout(this.timer);
    super.disconnectedCallback();
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
      ${this.filters()} ${this.records ? this.list(this.records) : this.failure ? nothing : loading(this.at ? `Searching before record ${this.at.toLocaleString()}…` : "Reading the audit log…")}
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
    return html`<div class="tools" role="search">
      <div class="search">${icon("search")}<input class="input" type="search" data-search placeholder="Search" aria-label="Search in the records' text" autocomplete="off" spellcheck="false" .value=${w.q}
        @input=${(e: Event) => this.set({ q: valueOf(e) }, true)} @keydown=${this.searchKey} /><kbd aria-hidden="true">/</kbd></div>
      <select class="input" aria-label="Type" @change=${(e: Event) => this.set({ type: valueOf(e) })}>
        <option value="" ?selected=${!w.type}>Every type</option>${[...new Set([...types, ...(w.type ? [w.type] : [])])].map((t) => html`<option value=${t} ?selected=${w.type === t}>${t.includes(".") ? t : `${t}.*`}</option>`)}
      </select>
      ${field("operator", "Operator")}${field("envoy", "Envoy")}${field("session", "Session")}
      <button class="button" type="button" @click=${() => this.read()}>${this.busy && this.records ? html`<span class="spinner"></span>` : nothing}Refresh</button>
    </div>`;
  }

  private list(records: AuditRecord[]): TemplateResult {
    const w = this.wish;
    const filtered = Object.values(w).some(Boolean);
    if (!records.length)
      return html`<div class="panel empty"><h2>${filtered ? "No record fits" : "The log is empty"}</h2>
        <p>${filtered ? "Nothing in the log has all of this." : "The relay writes down who did what, from its first start on."}</p>
        ${filtered ? html`<button class="button" type="button" @click=${() => this.set({ type: "", operator: "", envoy: "", session: "", q: "" })}>Clear the filters</button>` : nothing}</div>`;
    return html`${this.table(records)}
      <div class="row under"><span class="muted small" role="status">${records.length.toLocaleString()} records${this.next ? "" : ", back to the first that fits"}</span>
        ${this.at ? html`<span class="row muted small end"><span class="spinner"></span>Searching before record ${this.at.toLocaleString()}…</span>` : nothing}
        ${this.next && !this.at ? html`<button class="button slim end" type="button" ?disabled=${this.busy} @click=${() => this.read(this.next)}>Older records</button>` : nothing}</div>`;
  }

  private table(records: AuditRecord[]): TemplateResult {
    return html`<sc-vtable class="panel audit" label="Audit records, newest first" .rows=${records} .columns=${columns} .key=${(r: AuditRecord) => String(r.seq)} .rowHeight=${narrow.matches ? 66 : 36}
        @open=${(e: CustomEvent<AuditRecord>) => this.details(e.detail)} @details=${(e: CustomEvent<AuditRecord>) => this.details(e.detail)}
        @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`;
  }

  private details(r: AuditRecord): void {
    showRecord(r, (wish) => this.set(wish));
  }

  private readonly searchKey = (e: KeyboardEvent): void => {
    if (e.key === "Escape" && this.wish.q) this.set({ q: "" });
    else if (e.key === "ArrowDown" || e.key === "Enter") this.querySelector<HTMLElement & { enter(): void }>("sc-vtable")?.enter();
    else return;
    e.preventDefault();
  };
}

const columns: Column<AuditRecord>[] = [
  { name: "seq", title: "No.", cell: (r) => html`<span class="num muted">${r.seq}</span>` },
  { name: "time", title: "Time", cell: (r) => html`<span class="num">${date(r.time)}</span>` },
  { name: "type", title: "Type", cell: (r) => html`<span class="clip strong">${r.type}</span>` },
  { name: "operator", title: "Operator", cell: (r) => html`<span class="clip">${r.operator}</span>` },
  { name: "envoy", title: "Envoy", cell: (r) => html`<span class="clip" title=${r.envoy_id}>${r.envoy_name || r.envoy_id}</span>` },
  { name: "source", title: "Source", cell: (r) => html`<span class="clip num" title=${r.source}>${r.source}</span>` },
  { name: "code", title: "Code", cell: (r) => html`<span class="clip ${r.code && r.code !== "ok" ? "warn-text" : ""}">${r.code}</span>` },
  { name: "detail", title: "Detail", cell: (r) => html`<span class="clip muted">${r.detail || Object.entries(r.fields ?? {}).map(([k, v]) => `${k}: ${v}`).join(", ")}</span>` },
];

customElements.define("scrier-audit", Audit);
