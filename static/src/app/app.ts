import { html, nothing, type TemplateResult } from "lit";
import { keyed } from "lit/directives/keyed.js";
import { Problem, proveWith, signOut, type Session } from "../api";
import { Part } from "../ui/element";
import { icon } from "../ui/icon";
import { notice, skeleton, told } from "../ui/notice";
import { clock } from "../ui/format";
import { Now } from "../ui/now";
import { signedOut } from "../ui/signedout";
import { toast } from "../ui/toast";
import { Keys, showKeys } from "./keys";
import { live } from "./live";
import { followLinks, pageShown, routes, type Route } from "./route";
import { remaining, viewPath } from "./session";
import { signChange } from "./signature";
import "./account";
import "./audit";
import "./enrol";
import "./envoydetails";
import "./fleet";
import "./operators";
import "./sessions";
import "./signin";

proveWith(signChange);

const mostRunning = 5; // sessions in the navigation; the page Sessions has all
const patience = 1500; // ms without events before the banner shows: a reload of the relay is shorter

/** App is the frame: navigation, the page of the address, and what all pages share. */
class App extends Part {
  static override properties = { path: { state: true }, ready: { state: true }, failure: { state: true }, open: { state: true }, lost: { state: true }, stranger: { state: true } };
  declare path: string;
  declare ready: boolean;
  declare failure: unknown;
  declare open: boolean; // the menu of a narrow window
  declare lost: boolean;
  declare stranger: boolean; // nobody is signed in, and there is no such page anyway
  private visit = 0; // each gets a page of its own, which reads the address
  private at = pageShown();
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly now = new Now(this); // sessions count down
  private readonly keys = new Keys(() => this.routes);

  constructor() {
    super();
    this.path = location.pathname;
    this.ready = this.open = this.lost = this.stranger = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener("popstate", this.moved);
    addEventListener("scrier-route", this.moved);
    addEventListener("scrier-query", this.queried);
    addEventListener("pageshow", (e) => e.persisted && location.reload()); // who is signed in may have changed
    document.addEventListener("click", followLinks);
    document.addEventListener("keydown", this.keys.handle);
    live.addEventListener("change", this.changed);
    if (this.path !== "/signin") void this.start();
  }

  private async start(): Promise<void> {
    this.failure = undefined;
    try {
      await live.start();
      this.ready = true;
      this.home();
    } catch (err) {
      if (Problem.from(err).signIn && !routes.some((r) => r.path === this.path)) this.stranger = true;
      else if (!signedOut(err, true)) this.failure = err;
    }
  }

  /** home leads away from pages that the role does not have. */
  private home(): void {
    if (this.path === "/" && !live.may("see envoys")) {
      history.replaceState(null, "", this.routes[0]!.path);
      this.moved();
    }
  }

  private readonly queried = (): void => void (this.at = pageShown());

  private readonly moved = (): void => {
    if ((this.path === "/signin") !== (location.pathname === "/signin")) location.reload();
    const other = this.path !== location.pathname;
    this.path = location.pathname;
    this.open = false;
    if (this.at !== pageShown()) {
      this.visit++; // else only what is shown beside the list is another
      for (const d of document.querySelectorAll<HTMLDialogElement>("body > :not(scrier-app) > dialog[open]")) d.close(); // they belong to the page that is left
    }
    this.at = pageShown();
    this.requestUpdate();
    if (other) void this.updateComplete.then(() => this.querySelector<HTMLElement>("main")?.focus());
  };

  private readonly changed = (): void => {
    this.requestUpdate(); // who is signed in may do more than before
    if (live.connected) {
      clearTimeout(this.timer);
      this.timer = undefined;
      this.lost = false;
    } else this.timer ??= setTimeout(() => (this.lost = !live.connected), patience);
  };

  private get routes(): readonly Route[] {
    return routes.filter((r) => live.may(r.verb));
  }

  override render() {
    const route = routes.find((r) => r.path === this.path);
    document.title = this.path === "/signin" ? "Sign in · Scrier" : `${route?.title ?? "Not found"} · Scrier`;
    if (this.path === "/signin") return html`<scrier-signin></scrier-signin>`;
    if (this.stranger) return html`<main class="alone"><div class="signin panel pad stack"><div class="brand"><img src="/favicon.svg" alt="" width="28" height="28" />Scrier</div>
      <h1>There is no such page</h1><p class="muted">The address may be mistyped, or the page has moved.</p><a class="button primary" href="/">Go to Scrier</a></div></main>`;
    if (this.failure) return html`<main class="alone">${notice(this.failure, () => void this.start())}</main>`;
    if (!this.ready) return html`<div class="frame"><div class="side"></div><main><div class="page fill">${skeleton("Loading…")}</div></main></div>`;
    return html`<a class="skip" href="#main" @click=${this.skip}>Skip to the content</a>
      <div class="frame">
        ${this.navigation()}
        <main id="main" tabindex="-1">
          ${this.lost
            ? html`<div class="banner" role="status"><span class="spinner"></span>No connection to the relay. What you see may be out of date; reconnecting…</div>`
            : nothing}
          ${live.me?.doubt && this.path !== "/account"
            ? html`<div class="banner" role="status">${icon("warn")}<span>${live.me.doubt} made the link that you came by. <a href="/account">Prove that you are ${live.me.username}</a>; until then you can only look.</span></div>`
            : nothing}
          ${keyed(this.visit, this.page(route))}
        </main>
      </div>`;
  }

  private page(route: Route | undefined): TemplateResult {
    if (!route) return this.nothingHere("There is no such page", "The address may be mistyped, or the page has moved.");
    const me = live.me;
    if (!live.may(route.verb) && me?.doubt) return this.nothingHere("Prove first who you are", `${me.doubt} made the link that you came by. Prove on the page My account that you are ${me.username}.`, "/account");
    if (!live.may(route.verb)) return this.nothingHere("This page is not for your role", `You are signed in with the role ${me?.role}. An administrator can change it.`);
    switch (route.path) {
      case "/sessions":
        return html`<scrier-sessions></scrier-sessions>`;
      case "/operators":
        return html`<scrier-operators></scrier-operators>`;
      case "/enrol":
        return html`<scrier-enrol></scrier-enrol>`;
      case "/audit":
        return html`<scrier-audit></scrier-audit>`;
      case "/account":
        return html`<scrier-account></scrier-account>`;
      default:
        return html`<scrier-fleet></scrier-fleet>`;
    }
  }

  private nothingHere(title: string, text: string, path?: string): TemplateResult {
    const to = path ? routes.find((r) => r.path === path) : this.routes[0];
    return html`<div class="page"><div class="empty"><h1>${title}</h1><p>${text}</p>${to ? html`<a class="button" href=${to.path}>Go to ${to.title}</a>` : nothing}</div></div>`;
  }

  private navigation(): TemplateResult {
    const me = live.me;
    const link = (r: Route) => html`<a href=${r.path} title=${r.title} aria-current=${r.path === this.path ? "page" : nothing}>${icon(r.icon)}<span>${r.title}</span></a>`;
    return html`<header class="side ${this.open ? "open" : ""}">
      <div class="brand">
        <a href=${this.routes[0]?.path ?? "/account"}><img src="/favicon.svg" alt="" width="22" height="22" />Scrier</a>
        <button class="button quiet icon menu" type="button" aria-expanded=${this.open} aria-controls="nav" aria-label="Menu" @click=${() => (this.open = !this.open)}>
          ${icon(this.open ? "close" : "menu")}
        </button>
      </div>
      <nav id="nav" aria-label="Pages">
        ${this.routes.filter((r) => r.path !== "/account").map(link)}
        ${this.running()}
        <div class="foot">
          <a href="/account" title="My account" aria-current=${this.path === "/account" ? "page" : nothing}>
            ${icon("account")}<span class="who"><span><span class="visually-hidden">My account: </span>${me?.username}</span><span class="muted small">${me?.role}</span></span>
          </a>
          <button type="button" title="Sign out" @click=${this.leave}>${icon("leave")}<span>Sign out</span></button>
          <button type="button" class="keys-button" @click=${() => showKeys(this.routes)}><kbd>?</kbd><span>Keys</span></button>
        </div>
      </nav>
    </header>`;
  }

  // running are one's own open sessions, with the way back, and how long they go on without one.
  private running(): TemplateResult | typeof nothing {
    const mine = live.may("open sessions") ? live.mine : [];
    if (!mine.length) return nothing;
    const now = this.now.value;
    const one = (s: Session) => {
      const left = remaining(s, now);
      const where = `${s.login ? `${s.login}@` : ""}${s.envoy_name}`;
      return html`<a class=${left === undefined ? "" : "waits"} href=${viewPath(s)} title=${left === undefined ? where : `${where}: nobody is attached; it ends in ${clock(left)}`}>
        ${icon(s.kind === "ssh" ? "shell" : "screen")}<span>${s.envoy_name}</span>${left === undefined ? nothing : html`<span class="left">${clock(left)}</span>`}</a>`;
    };
    return html`<section class="running" aria-label="Your sessions"><h2>Your sessions</h2>${mine.slice(0, mostRunning).map(one)}
      ${mine.length > mostRunning ? html`<a href="/sessions?show=mine" title="All of your sessions">${icon("sessions")}<span>${mine.length - mostRunning} more</span></a>` : nothing}</section>`;
  }

  private skip(e: Event): void {
    e.preventDefault();
    this.querySelector<HTMLElement>("main")?.focus();
  }

  private async leave(): Promise<void> {
    try {
      await live.leaving(() => signOut());
      location.assign("/signin");
    } catch (err) {
      if (!signedOut(err)) toast(told(err), "bad");
    }
  }
}

customElements.define("scrier-app", App);
