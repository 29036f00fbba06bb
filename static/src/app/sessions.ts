import { html, nothing, type TemplateResult } from "lit";
import type { Session } from "../api";
import { ago, bytes, clock, date } from "../ui/format";
import { icon } from "../ui/icon";
import { loading, notice } from "../ui/notice";
import { Now } from "../ui/now";
import type { Column } from "../ui/vtable";
import "../ui/vtable";
import { live } from "./live";
import { narrow, Page, valueOf } from "./page";
import { showQuery } from "./route";
import { lasted, mayAttach, mayEnd, mayWatch, sessionDot, sessionWord, viewPath, why } from "./session";
import { endSession, showSession } from "./sessiondetails";


type Which = "open" | "mine" | "all";

/** Sessions is the live list of sessions. */
class Sessions extends Page {
  static override properties = { ...Page.properties, q: { state: true }, which: { state: true } };
  declare q: string;
  declare which: Which;
  private readonly now = new Now(this);

  constructor() {
    super();
    const p = new URLSearchParams(location.search);
    this.q = p.get("q") ?? "";
    const w = p.get("show");
    this.which = w === "open" || w === "mine" ? w : "all";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    live.wantSessions();
  }

  private set(q: string, which: Which): void {
    this.q = q;
    this.which = which;
    showQuery({ q, show: which === "all" ? "" : which });
  }

  private rows(): Session[] {
    const words = this.q.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (s: Session) => {
      const text = [s.id, s.operator, s.login, s.envoy_name, s.envoy_id, s.kind, s.reason].join("\n").toLowerCase();
      return words.every((w) => text.includes(w)) && (this.which === "all" || (this.which === "mine" ? s.own : s.state !== "closed"));
    };
    const open = (s: Session) => (s.state === "closed" ? 1 : 0);
    return [...live.sessions.values()].filter(fits).sort((a, b) => open(a) - open(b) || Date.parse(b.created) - Date.parse(a.created));
  }

  override render() {
    const rows = this.rows();
    return html`<div class="page fill">
      <div class="title"><h1>Sessions</h1></div>
      ${live.sessionsFailure ? notice(live.sessionsFailure, () => void live.readSessions()) : nothing}
      ${!live.sessionsLoaded && !live.sessionsFailure ? loading("Reading the sessions…") : live.sessions.size ? this.list(rows) : this.none()}
    </div>`;
  }

  private none(): TemplateResult {
    return html`<div class="panel empty"><h2>No session yet</h2>
      ${live.may("open sessions")
        ? html`<p>Open a shell on an envoy; while it is open you see it here, and can come back to it from another window.</p><a class="button primary" href="/">Go to the fleet</a>`
        : html`<p>When somebody opens a session on an envoy, it appears here by itself.</p>`}
    </div>`;
  }

  private list(rows: Session[]): TemplateResult {
    const all = [...live.sessions.values()];
    const chip = (w: Which, word: string, n: number) => html`<button class="chip" type="button" aria-pressed=${this.which === w} @click=${() => this.set(this.q, w)}>${word} <span class="num">${n}</span></button>`;
    return html`<div class="tools" role="search">
        <div class="search">${icon("search")}
          <input class="input" type="search" data-search placeholder="Search" aria-label="Search by operator, login, envoy or reason" autocomplete="off" spellcheck="false"
            .value=${this.q} @input=${(e: Event) => this.set(valueOf(e), this.which)} @keydown=${this.searchKey} /><kbd aria-hidden="true">/</kbd></div>
        <div class="row" role="group" aria-label="Which">
          ${chip("all", "All", all.length)}${chip("open", "Open", all.filter((s) => s.state !== "closed").length)}${chip("mine", "Mine", all.filter((s) => s.own).length)}
        </div>
      </div>
      <p class="visually-hidden" role="status">${rows.length} sessions</p>
      ${rows.length
        ? html`<sc-vtable class="panel sessions" label="Sessions" .rows=${rows} .columns=${this.columns()} .key=${(s: Session) => s.id} .rowHeight=${narrow.matches ? 68 : 40}
            @open=${(e: CustomEvent<Session>) => this.open(e.detail)} @details=${(e: CustomEvent<Session>) => showSession(e.detail.id)}
            @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`
        : html`<div class="panel empty"><h2>No session fits</h2><button class="button" type="button" @click=${() => this.set("", "all")}>Show all</button></div>`}`;
  }

  private columns(): Column<Session>[] {
    const now = this.now.value;
    return [
      { name: "state", title: "State", cell: (s) => html`<span class="dot ${sessionDot(s)}">${sessionWord(s)}</span>` },
      { name: "operator", title: "Operator", cell: (s) => html`<span class="clip">${s.operator}</span>${s.own ? html` <span class="chip on">you</span>` : nothing}` },
      { name: "login", title: "Login", cell: (s) => html`<span class="clip">${s.login || html`<span class="muted">–</span>`}</span>` },
      { name: "envoy", title: "Envoy", cell: (s) => html`<span class="clip strong">${s.envoy_name}</span>` },
      { name: "kind", title: "Kind", cell: (s) => s.kind },
      { name: "started", title: "Started", cell: (s) => html`<span class="num" title=${date(s.created)}>${ago(s.created, now)}</span>` },
      { name: "lasted", title: "Duration", cell: (s) => html`<span class="num">${clock(lasted(s, now))}</span>` },
      { name: "bytes", title: "In / out", cell: (s) => html`<span class="num" title="bytes to and from the envoy">${bytes(s.sent)} / ${bytes(s.received)}</span>` },
      { name: "reason", title: "Reason", cell: (s) => (s.watchers?.length ? html`<span class="clip warn-text">Watched by ${s.watchers.join(", ")}</span>` : html`<span class="clip" title=${[why(s), s.detail].filter(Boolean).join("\n")}>${why(s)}</span>`) },
      { name: "actions", title: "Actions", plain: true, cell: (s) => this.actions(s) },
    ];
  }

  private actions(s: Session): TemplateResult {
    return html`${mayAttach(s) ? html`<a class="button slim" tabindex="-1" href=${viewPath(s)} aria-label=${`Attach to ${s.envoy_name}`}>Attach</a>` : nothing}
      ${mayWatch(s) ? html`<a class="button slim" tabindex="-1" href=${viewPath(s, true)} aria-label=${`Watch ${s.operator} on ${s.envoy_name}`}>Watch</a>` : nothing}
      ${mayEnd(s) ? html`<button class="button slim danger" type="button" tabindex="-1" aria-label=${`End the session of ${s.operator} on ${s.envoy_name}`} @click=${() => endSession(s)}>End</button>` : nothing}
      <button class="button quiet slim" type="button" tabindex="-1" aria-label=${`Details of the session of ${s.operator} on ${s.envoy_name}`} @click=${() => showSession(s.id)}>${icon("more")}</button>`;
  }

  private open(s: Session): void {
    if (mayAttach(s)) location.assign(viewPath(s));
    else showSession(s.id);
  }

  private readonly searchKey = (e: KeyboardEvent): void => {
    if (e.key === "Escape" && this.q) this.set("", this.which);
    else if (e.key === "ArrowDown" || e.key === "Enter") this.querySelector<HTMLElement & { enter(): void }>("sc-vtable")?.enter();
    else return;
    e.preventDefault();
  };
}

customElements.define("scrier-sessions", Sessions);
