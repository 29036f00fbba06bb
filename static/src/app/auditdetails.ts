import { html, nothing, type TemplateResult } from "lit";
import type { AuditRecord } from "../api";
import { icon } from "../ui/icon";
import { moment } from "../ui/moment";
import { Drawer } from "./page";

/** RecordDetails is the drawer with all of one audit record. */
class RecordDetails extends Drawer {
  static override properties = { ...Drawer.properties, record: { attribute: false } };
  declare record: AuditRecord;

  override render(): TemplateResult {
    const r = this.record;
    const fact = (what: string, value: unknown) => (value ? html`<dt>${what}</dt><dd>${value}</dd>` : nothing);
    const only = (word: string, name: string, value: string) => (value ? html`<a class="chip" href=${`/audit?${new URLSearchParams({ [name]: value })}`}>${word}</a>` : nothing);
    return html`<dialog class="drawer" aria-labelledby="record-title" @close=${this.closed} @click=${this.beside}>
      <div class="drawer-body">
        <div class="row top"><div><h2 id="record-title">${r.type}</h2><span class="muted num">Record ${r.seq}</span></div>
          <button class="button quiet icon end" type="button" aria-label="Close" @click=${this.close}>${icon("close")}</button></div>
        <dl class="facts">
          ${fact("Time", html`${moment(r.time)}<br /><code>${r.time}</code>`)} ${fact("Operator", r.operator)} ${fact("Source", r.source)}
          ${fact("Machine", r.envoy_id && html`${r.envoy_name}<br /><code>${r.envoy_id}</code>`)} ${fact("Session", r.session_id && html`<code>${r.session_id}</code>`)}
          ${fact("Code", r.code)} ${fact("Detail", r.detail)} ${Object.entries(r.fields ?? {}).map(([k, v]) => fact(k, v))}
        </dl>
        <section class="stack tight"><h3>Show only</h3><div class="row">
          ${only("this type", "type", r.type)}${only("this operator", "operator", r.operator)}${only("this machine", "envoy", r.envoy_id)}${only("this session", "session", r.session_id)}
        </div></section>
      </div>
    </dialog>`;
  }
}

customElements.define("scrier-record", RecordDetails);
