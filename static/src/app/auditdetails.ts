import { html, nothing, type TemplateResult } from "lit";
import type { AuditRecord } from "../api";
import { date } from "../ui/format";
import { icon } from "../ui/icon";
import { Part } from "../ui/element";

type Filter = (wish: { type?: string; operator?: string; envoy?: string; session?: string }) => void;

/** RecordDetails is the drawer with all of one audit record. */
class RecordDetails extends Part {
  static override properties = { record: { attribute: false } };
  declare record: AuditRecord;
  filter: Filter = () => {};

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
  }

  private readonly close = () => this.querySelector("dialog")?.close();

  override render(): TemplateResult {
    const r = this.record;
    const fact = (what: string, value: unknown) => (value ? html`<dt>${what}</dt><dd>${value}</dd>` : nothing);
    const only = (word: string, wish: Parameters<Filter>[0]) => html`<button class="chip" type="button" @click=${() => {
      this.filter(wish);
      this.close();
    }}>${word}</button>`;
    return html`<dialog class="drawer" aria-labelledby="record-title" @close=${() => this.remove()} @click=${(e: Event) => e.target === e.currentTarget && this.close()}>
      <div class="drawer-body">
        <div class="row top"><div><h2 id="record-title">${r.type}</h2><span class="muted num">Record ${r.seq}</span></div>
          <button class="button quiet icon end" type="button" aria-label="Close" @click=${this.close}>${icon("close")}</button></div>
        <dl class="facts">
          ${fact("Time", html`${date(r.time)}<br /><code>${r.time}</code>`)} ${fact("Operator", r.operator)} ${fact("Source", r.source)}
          ${fact("Envoy", r.envoy_id && html`${r.envoy_name}<br /><code>${r.envoy_id}</code>`)} ${fact("Session", r.session_id && html`<code>${r.session_id}</code>`)}
          ${fact("Code", r.code)} ${fact("Detail", r.detail)} ${Object.entries(r.fields ?? {}).map(([k, v]) => fact(k, v))}
        </dl>
        <section class="stack tight"><h3>Show only</h3><div class="row">
          ${only("this type", { type: r.type })}${r.operator ? only("this operator", { operator: r.operator }) : nothing}
          ${r.envoy_id ? only("this envoy", { envoy: r.envoy_id }) : nothing}${r.session_id ? only("this session", { session: r.session_id }) : nothing}
        </div></section>
      </div>
    </dialog>`;
  }
}

customElements.define("scrier-record", RecordDetails);

export function showRecord(record: AuditRecord, filter: Filter): void {
  const el = document.createElement("scrier-record") as RecordDetails;
  el.record = record;
  el.filter = filter;
  document.body.append(el);
}
