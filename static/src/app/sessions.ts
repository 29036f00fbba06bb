import { html, nothing, type TemplateResult } from "lit";
import type { Session } from "../api";
import { rowHeight } from "../ui/density";
import { ago, bytes, clock, count, exact } from "../ui/format";
import { icon } from "../ui/icon";
import { menu } from "../ui/menu";
import { notice, skeleton } from "../ui/notice";
import { Now } from "../ui/now";
import { composing } from "../ui/typing";
import type { Column } from "../ui/vtable";
import "../ui/vtable";
import { actionsWidth, nameWidth } from "./chips";
import { live } from "./live";
import { narrow, Page, Place, valueOf } from "./page";
import { detailsPath, openDetails, showQuery } from "./route";
import { kindWord, lasted, mayAttach, mayEnd, mayWatch, sessionDot, sessionWord, told, viewPath } from "./session";
import { endSession } from "./sessiondetails";

const stateOrder = { waiting: 0, active: 1, closing: 2, closed: 3 };
const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

// orders are the ways to sort sessions; equal ones come newest first.
const orders: Record<string, (a: Session, b: Session, now: number) => number> = {
  state: (a, b) => stateOrder[a.state] - stateOrder[b.state] || Number(b.attached) - Number(a.attached),
  operator: (a, b) => text(a.operator, b.operator),
  login: (a, b) => text(a.login, b.login),
  envoy: (a, b) => text(a.envoy_name, b.envoy_name),
  kind: (a, b) => text(a.kind, b.kind),
  started: (a, b) => Date.parse(b.created) - Date.parse(a.created),
  lasted: (a, b, now) => lasted(b, now) - lasted(a, now),
  bytes: (a, b) => b.sent + b.received - a.sent - a.received,
  reason: (a, b, now) => text(told(a, now), told(b, now)),
};

type Which = "open" | "mine" | "all";

/** Sessions is the live list of sessions. */
class Sessions extends Page {
  static override properties = { ...Page.properties, q: { state: true }, which: { state: true }, sort: { state: true }, down: { state: true } };
  declare q: string;
  declare which: Which;
  declare sort: string; // empty: the open ones first, then the newest
  declare down: boolean;
  private readonly place = new Place("sessions");
  private readonly now = new Now(this);

  constructor() {
    super();
    const p = new URLSearchParams(location.search);
    this.q = p.get("q") ?? "";
    const w = p.get("show");
    this.which = w === "open" || w === "mine" ? w : "all";
    const by = p.get("sort") ?? "";
    this.sort = by in orders ? by : "";
    this.down = p.get("down") === "1";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    live.wantSessions();
  }

  private set(q: string, which: Which): void {
    this.q = q;
    this.which = which;
    showQuery({ q, show: which === "all" ? "" : which, sort: this.sort, down: this.down ? "1" : "" });
  }

  private rows(): Session[] {
    const words = this.q.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (s: Session) => {
      const text = [s.id, s.operator, s.login, s.envoy_name, s.envoy_id, s.kind, s.reason].join("\n").toLowerCase();
      return words.every((w) => text.includes(w)) && (this.which === "all" || (this.which === "mine" ? s.own : s.state !== "closed"));
    };
    const open = (s: Session) => (s.state === "closed" ? 1 : 0);
    const newest = (a: Session, b: Session) => Date.parse(b.created) - Date.parse(a.created);
    const by = orders[this.sort];
    const sign = this.down ? -1 : 1;
    const now = this.now.value;
    return [...live.sessions.values()].filter(fits).sort(by ? (a, b) => sign * by(a, b, now) || newest(a, b) : (a, b) => open(a) - open(b) || newest(a, b));
  }

  override render() {
    const rows = this.rows();
    return html`<div class="page fill">
      <div class="title"><h1>Sessions</h1></div>
      ${live.sessionsFailure ? notice(live.sessionsFailure, () => void live.readSessions()) : nothing}
      ${!live.sessionsLoaded && !live.sessionsFailure ? skeleton("Loading the sessions…") : live.sessions.size ? this.list(rows) : this.none()}
      ${this.shown ? html`<scrier-session .session=${this.shown}></scrier-session>` : nothing}
    </div>`;
  }

  private none(): TemplateResult {
    return html`<div class="panel empty"><h2>No session yet</h2>
      ${live.may("open sessions")
        ? html`<p>Open a shell on a machine. While it runs it is listed here, and you can come back to it from another window.</p><a class="button primary" href="/">Go to the fleet</a>`
        : html`<p>When somebody opens a session, it appears here by itself.</p>`}
    </div>`;
  }

  private list(rows: Session[]): TemplateResult {
    const all = [...live.sessions.values()];
    const chip = (w: Which, word: string, n: number) => html`<button class="chip" type="button" aria-pressed=${this.which === w} @click=${() => this.set(this.q, w)}>${word} <span class="num">${n}</span></button>`;
    const two = narrow.matches && rows.some((s) => s.envoy_name.length * 8.2 > innerWidth - 70); // a name of two lines
    return html`<div class="tools" role="search">
        <div class="search">${icon("search")}
          <input class="input" type="search" data-search placeholder="Search" aria-label="Search by operator, login, envoy or reason" autocomplete="off" spellcheck="false"
            .value=${this.q} @input=${(e: Event) => this.set(valueOf(e), this.which)} @keydown=${this.searchKey} /><kbd aria-hidden="true">/</kbd></div>
        <div class="row" role="group" aria-label="Which">
          ${chip("all", "All", all.length)}${chip("open", "Open", all.filter((s) => s.state !== "closed").length)}${chip("mine", "Mine", all.filter((s) => s.own).length)}
        </div>
      </div>
      <p class="visually-hidden" role="status">${count(rows.length, "session")}</p>
      ${rows.length
        ? html`<sc-vtable class="panel sessions ${two ? "two" : ""}" label="Sessions" .rows=${rows} .columns=${this.columns()} .card=${narrow.matches ? this.card : undefined} .key=${(s: Session) => s.id}
            .rowHeight=${narrow.matches ? (two ? 124 : 104) : rowHeight()} sort=${this.sort} ?down=${this.down} active=${this.place.get()}
            @sort=${(e: CustomEvent<string>) => this.order(e.detail)} @active=${this.place.set} @open=${(e: CustomEvent<Session>) => this.open(e.detail)}
            @details=${(e: CustomEvent<Session>) => openDetails(e.detail.id)} @menu=${(e: CustomEvent<{ row: Session; at: Element }>) => this.menu(e.detail.row, e.detail.at)}
            @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`
        : html`<div class="panel empty"><h2>No session matches</h2><button class="button" type="button" @click=${() => this.set("", "all")}>Show all</button></div>`}`;
  }

  private columns(): Column<Session>[] {
    const now = this.now.value;
    const col = (name: string, title: string, c: Omit<Column<Session>, "name" | "title">): Column<Session> => ({ name, title, sortable: name in orders, ...c });
    return [
      col("state", "State", { cell: (s) => html`<span class="dot ${sessionDot(s)}">${sessionWord(s)}</span>`, text: sessionWord, extra: 15 }),
      col("operator", "Operator", { cell: (s) => html`<span class="clip" title=${s.operator}>${s.operator}</span>${s.own ? html` <span class="chip on">you</span>` : nothing}`,
        wide: (s) => nameWidth(s.operator, s.own ? "you" : "", 400), least: 110 }),
      col("login", "Login", { cell: (s) => html`<span class="clip" title=${s.login}>${s.login || html`<span class="muted">–</span>`}</span>`, text: (s) => s.login || "–", least: 90, rank: 4 }),
      col("envoy", "Machine", { cell: (s) => html`<a class="clip name" tabindex="-1" href=${detailsPath(s.id)} title=${s.envoy_name} aria-label=${`Details of the session of ${s.operator} on ${s.envoy_name}`}>${s.envoy_name}</a>`, text: (s) => s.envoy_name, strong: true, least: 400, first: true }),
      col("kind", "Kind", { cell: kindWord, text: kindWord, rank: 8 }),
      col("started", "Started", { cell: (s) => html`<span class="num" title=${exact(s.created)}>${ago(s.created, now)}</span>`, text: (s) => {
        const t = ago(s.created, now);
        return t.length > 10 ? t : "59 min ago";
      }, rank: 2 }),
      col("lasted", "Duration", { cell: (s) => html`<span class="num">${clock(lasted(s, now))}</span>`, text: (s) => {
        const t = clock(lasted(s, now));
        return t.length > 7 ? t : "0:00:00";
      }, rank: 6, end: true }),
      col("bytes", "In / out", { cell: (s) => html`<span class="num" title="bytes to and from the machine">${bytes(s.sent)} / ${bytes(s.received)}</span>`, text: (s) => `${bytes(s.sent)} / ${bytes(s.received)}`, extra: 4, rank: 7, end: true }),
      col("reason", "What happened", { cell: (s) => html`<span class="clip ${s.watchers?.length ? "warn-text" : ""}" title=${[told(s, now), s.detail].filter(Boolean).join("\n")}>${told(s, now)}</span>`, text: (s) => told(s, now), least: 130, rank: 3, grows: true }),
      { name: "actions", title: "Actions", plain: true, end: true, cell: (s) => this.actions(s), wide: (s) => actionsWidth(mayAttach(s) ? "Attach" : mayWatch(s) ? "Watch" : "") },
    ];
  }

  private readonly card = (s: Session): TemplateResult => {
    const now = this.now.value;
    return html`<div class="line top"><span class="dot ${sessionDot(s)}"><span class="visually-hidden">${sessionWord(s)}</span></span><a class="clip name" tabindex="-1" href=${detailsPath(s.id)} title=${s.envoy_name}
        aria-label=${`Details of the session of ${s.operator} on ${s.envoy_name}`}>${s.envoy_name}</a></div>
      <div class="line"><span class="clip">${s.operator}${s.login ? html` <span class="muted">as ${s.login}</span>` : nothing}</span>${s.own ? html`<span class="chip on">you</span>` : nothing}</div>
      <div class="line"><span class="muted small clip" title=${exact(s.created)}>${`${sessionWord(s)}, ${s.ends && !s.attached ? told(s, now).toLowerCase() : ago(s.created, now)}`}</span><span class="end row">${this.actions(s)}</span></div>`;
  };

  private actions(s: Session): TemplateResult {
    return html`${mayAttach(s) ? html`<a class="button slim" tabindex="-1" href=${viewPath(s)} aria-label=${`Attach to ${s.envoy_name}`}>Attach</a>`
      : mayWatch(s) ? html`<a class="button slim" tabindex="-1" href=${viewPath(s, true)} aria-label=${`Watch ${s.operator} on ${s.envoy_name}`}>Watch</a>` : nothing}
      <button class="button quiet slim dots" type="button" tabindex="-1" aria-haspopup="menu" aria-label=${`More on the session of ${s.operator} on ${s.envoy_name}`} @click=${(e: Event) => this.menu(s, e.currentTarget as Element)}>${icon("more")}</button>`;
  }

  private menu(s: Session, at: Element): void {
    menu(at, `Actions for the session of ${s.operator} on ${s.envoy_name}`, [
      { word: "Details", icon: "info", go: () => openDetails(s.id) },
      mayAttach(s) && { word: "Attach", icon: "shell", href: viewPath(s) },
      mayWatch(s) && { word: "Watch", icon: "shell", href: viewPath(s, true) },
      live.may("see envoys") && { word: "Show the machine", icon: "fleet", href: `/?details=${s.envoy_id}` },
      live.may("see the audit log") && { word: "Audit records", icon: "audit", href: `/audit?session=${s.id}` },
      mayEnd(s) && { word: "End…", danger: true, go: () => void endSession(s) },
    ]);
  }

  private order(by: string): void {
    this.down = this.sort === by && !this.down;
    this.sort = by;
    this.set(this.q, this.which);
  }

  private open(s: Session): void {
    if (mayAttach(s)) location.assign(viewPath(s));
    else openDetails(s.id);
  }

  private readonly searchKey = (e: KeyboardEvent): void => {
    if (composing(e)) return;
    if (e.key === "Escape" && this.q) this.set("", this.which);
    else if (e.key === "ArrowDown" || e.key === "Enter") this.querySelector<HTMLElement & { enter(): void }>("sc-vtable")?.enter();
    else return;
    e.preventDefault();
  };
}

customElements.define("scrier-sessions", Sessions);
