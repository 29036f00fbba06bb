import type { Opening } from "../api/model";
import { Problem } from "../api/problem";
import * as relay from "../api/relay";
import type { Ask, Attached, Said, Size } from "../wire/messages";
import { askPaste } from "./askpaste";
import { Banner } from "./banner";
import { clock } from "../viewer/clock";
import { el } from "../viewer/dom";
import { endingOf } from "../viewer/ending";
import { chooseLogin, Login, quote } from "../viewer/login";
import { Link } from "./link";
import { card, fleet, problem, progress, retrying, signIn, type Way } from "../viewer/panel";
import { ending } from "./panel";
import { Paste } from "./paste";
import { pinch } from "./pinch";
import { Screen, skipsOutput } from "./screen";
import { SearchBar } from "./search";
import { amount, place, plain, titleOf } from "../viewer/text";
import { Dialer } from "../viewer/transport";

/** Spec is what a tab is to show. */
export interface Spec {
  envoy: string;
  protocol: string;
  login?: string | undefined;
  session?: string | undefined; // one that is open already
  watch?: boolean | undefined;
}

/** Owner is told what a tab does. */
export interface Owner {
  changed(t: Tab): void;
  named(t: Tab): void; // it has a session now
  key(e: KeyboardEvent): boolean;
  another(t: Tab): void; // open one more to the same envoy
  font(by: number): void; // pixels
}

const noticeTime = 8000; // ms

/** Tab is one session on the page: its screen, its link, and what is to be said about them. */
export class Tab {
  readonly panel: HTMLElement;
  readonly screen: Screen;
  readonly search: SearchBar;
  link: Link | undefined;
  where: string;
  headline = "";
  bell = false;
  rang = -Infinity; // when the bell was heard last
  readonly held = { ctrl: false, alt: false }; // of the keys on the screen
  private title = "";
  private whose = ""; // the owner of a session that is watched
  private opened = false;
  private busy = new AbortController();
  private readonly host = el("div", { class: "screen" });
  private readonly dock = el("div", { class: "dock", hidden: true });
  private readonly banner: Banner;
  private readonly notices = el("div", { class: "notices", role: "status" });
  private login: Login | undefined; // while the machine has not let us in
  private docked = "";
  private gaps = 0;
  private told: Size = { cols: 0, rows: 0 }; // the size that Attach told
  private readonly dialer = new Dialer();

  constructor(readonly spec: Spec, readonly id: string, private readonly owner: Owner) {
    this.where = plain(spec.envoy, 8);
    this.screen = new Screen(this.host, {
      typed: (b) => this.typed(b),
      answered: (b) => this.link?.reply(b),
      resized: (s) => {
        this.link?.resized(s);
        this.owner.changed(this);
      },
      titled: (t) => {
        this.title = t;
        this.owner.changed(this);
      },
      rang: () => {
        this.bell = true;
        this.rang = performance.now();
        this.owner.changed(this);
      },
      selected: () => this.owner.changed(this),
      key: (e) => this.owner.key(e),
    });
    this.search = new SearchBar(this.screen);
    pinch(this.host, (pixels) => this.owner.font(pixels));
    this.banner = new Banner(this.screen);
    this.panel = el("section", { class: "tabpanel", role: "tabpanel", id: `panel-${id}`, "aria-labelledby": `tab-${id}` },
      this.banner.element, this.search.element, this.host, this.dock, this.notices);
    // Before xterm sees it: a paste is looked at first.
    this.panel.addEventListener("paste", (e) => {
      if (e.target instanceof HTMLInputElement) return;
      e.preventDefault();
      e.stopImmediatePropagation();
      void this.paste(e.clipboardData?.getData("text/plain") ?? "");
    }, true);
  }

  get fullTitle(): string {
    return titleOf(this.where, this.title);
  }

  get size(): Size {
    return this.screen.size;
  }

  get measure(): string {
    return `${this.size.cols}×${this.size.rows}`;
  }

  /** unsent says that a paste is on its way, or that keys wait for a connection: the relay does not have them yet. */
  get unsent(): boolean {
    const l = this.link;
    return l !== undefined && !l.over && (l.paste !== undefined || l.held > 0);
  }

  /** live says that there is a shell of ours which closing would end. */
  get live(): boolean {
    const s = this.link?.state.name;
    return this.link !== undefined && !this.spec.watch && s !== "ended" && s !== "closed" && s !== "elsewhere";
  }

  /** badges are what counts besides: whose session it is, for who watches. */
  get badges(): string[] {
    return this.whose === "" ? [] : [`${this.whose}'s session`];
  }

  get session(): string | undefined {
    return this.spec.session;
  }

  /** show brings it to the front. */
  show(): void {
    this.panel.hidden = false;
    this.bell = false;
    if (!this.opened) {
      this.opened = true;
      this.screen.open();
    }
    this.screen.accelerate();
    this.screen.focus();
  }

  hide(): void {
    this.panel.hidden = true;
    this.screen.decelerate();
  }

  /** start opens the session, or attaches to the one that is open. */
  async start(login?: string): Promise<void> {
    this.link?.close();
    this.link = undefined;
    this.login = undefined;
    this.docked = "";
    this.busy.abort();
    const busy = (this.busy = new AbortController());
    if (login !== undefined) this.spec.login = login;
    if (this.spec.session !== undefined) {
      this.dockOff();
      this.run(this.spec.session);
      return;
    }
    this.headline = "Opening a shell…";
    this.say(progress("Opening a shell…", "The relay asks the machine, which finds your login and lets the session's key in.", () => busy.abort()), true);
    this.owner.changed(this);
    void this.nameEnvoy();
    let first: Opening;
    try {
      const { cols, rows } = this.size;
      first = await relay.connect({ envoy_id: this.spec.envoy, protocol: this.spec.protocol, cols, rows, answers: true, ...(this.spec.login ? { login: this.spec.login } : {}) }, { signal: busy.signal });
    } catch (err) {
      if (this.busy !== busy) return;
      if (busy.signal.aborted) {
        this.headline = "Cancelled";
        this.say(card("You cancelled it.", [], [this.retry("Open a shell"), fleet]), true);
      } else this.refusedToOpen(Problem.from(err));
      this.owner.changed(this);
      return;
    }
    if (this.busy !== busy) return;
    this.spec.session = first.session_id;
    this.dockOff();
    this.run(first.session_id, first);
    this.owner.named(this);
  }

  /** close lets go of the session, which stays open for a while, and of the screen. */
  close(): void {
    this.busy.abort();
    this.link?.close();
    this.screen.dispose();
    this.panel.remove();
  }

  /** end ends the session for good. */
  async end(): Promise<void> {
    if (this.spec.session === undefined) return;
    try {
      await relay.endSession(this.spec.session);
    } catch (err) {
      const p = Problem.from(err);
      if (p.code !== "not_found") this.notice(`${p.title} ${p.detail} ${p.hint}`);
    }
  }

  async copy(): Promise<void> {
    const text = this.screen.term.getSelection();
    if (text === "") return this.notice("Select something first: drag over it, or double-click a word.");
    try {
      await navigator.clipboard.writeText(text);
      this.notice(`Copied ${amount(text.length)} characters.`);
    } catch {
      this.notice("The browser does not let the page copy. Use the menu of the right mouse button.");
    }
    this.screen.focus();
  }

  async pasteClipboard(): Promise<void> {
    let text: string;
    try {
      text = await navigator.clipboard.readText();
    } catch {
      this.notice("The browser does not let the page read the clipboard. Press Ctrl+Shift+V.");
      this.screen.focus();
      return;
    }
    await this.paste(text);
  }

  /** paste sends a text as if it were typed; several lines, or commands to the terminal, are asked about. */
  async paste(text: string): Promise<void> {
    if (text === "" || !this.link) return;
    const bracketed = () => this.screen.term.modes.bracketedPasteMode;
    if (!(await askPaste(text, bracketed()))) return;
    this.link.insert(new Paste(text, bracketed()));
    this.screen.term.scrollToBottom();
    this.screen.focus();
  }

  /** press is a key on the screen. */
  press(b: Uint8Array<ArrayBuffer>): void {
    this.typed(b);
    this.screen.focus();
  }

  notice(text: string): void {
    const n = el("div", { class: "toast-line" }, plain(text, 400));
    this.notices.append(n);
    while (this.notices.childElementCount > 3) this.notices.firstElementChild?.remove();
    setTimeout(() => n.remove(), noticeTime);
  }

  /** tick renews what changes with time. */
  tick(): void {
    this.update();
  }

  private typed(b: Uint8Array<ArrayBuffer>): void {
    if (this.held.ctrl) {
      const c = b[0] ?? 0;
      if (b.length === 1 && c >= 0x40 && c < 0x80) b = Uint8Array.of(c & 0x1f);
      else if (b.length === 1 && c === 0x20) b = Uint8Array.of(0);
    }
    if (this.held.alt) b = Uint8Array.of(0x1b, ...b); // as xterm sends it with Meta
    if (this.held.ctrl || this.held.alt) {
      this.held.ctrl = this.held.alt = false;
      this.owner.changed(this);
    }
    if (this.login) this.notice("The machine has not let you in yet: what you type is not kept.");
    else if (this.link) this.link.type(b);
    else if (this.opened) this.notice("The shell is not open yet: what you type is not kept.");
  }

  private run(session: string, first?: Opening): void {
    const watch = this.spec.watch === true;
    const link = new Link(
      {
        attach: (signal) => relay.attach(session, watch, { signal }),
        dial: (o, signal) => this.dialer.open(o, signal),
        lost: (d) => this.dialer.lost(d),
        beside: (o) => this.dialer.beside(o),
        better: this.dialer,
        ending: () => endingOf(session),
      },
      {
        write: (b, done) => this.screen.write(b, done),
        hidden: () => document.hidden,
        size: () => (this.told = this.size),
        skips: skipsOutput,
        changed: () => this.update(),
        attached: (a) => this.attached(a),
        resized: (s) => this.screen.follow(s),
        notice: (text) => this.notice(text),
        heard: (m) => this.heard(m),
        refused: (why) => this.notice(why),
      },
      clock,
      !watch,
    );
    this.link = link;
    this.update();
    if (watch) void relay.session(session).then((s) => {
      this.whose = plain(s.operator, 64);
      this.update();
    }, () => {}); // attaching tells what is wrong
    void link.run(first).catch((err: unknown) => {
      if (this.link === link) this.say(problem(Problem.from(err), [{ label: "Reload the page", go: () => location.reload() }]), false);
    });
  }

  // heard shows what the machine says and asks before there is a shell.
  private heard(m: Said | Ask): void {
    if (!this.login) {
      this.login = new Login({ answer: (id, texts) => this.link?.answer(id, texts), cancel: () => this.giveUp() });
      this.headline = "Logging in…";
      this.where = place(m.login, m.envoy);
    }
    if (!this.dock.contains(this.login.element)) this.say(this.login.element, true);
    if (m.type === "said") this.login.said(m);
    else this.login.ask(m);
    this.owner.changed(this);
  }

  private giveUp(): void {
    this.link?.giveUp();
    if (this.link?.state.name === "closed") this.notOpened(new Problem("cancelled", 0, "You cancelled it."));
  }

  // notOpened tells why a session that was being opened is not.
  private notOpened(p: Problem): void {
    const said = this.login && quote(this.where, this.login.text);
    this.link?.close();
    this.link = undefined;
    this.login = undefined;
    this.spec.session = undefined;
    if (p.code === "cancelled") {
      this.headline = "Cancelled";
      this.say(card("You cancelled it.", [], [this.retry("Open a shell"), fleet]), true);
    } else this.refusedToOpen(p, said);
    this.owner.named(this);
    this.owner.changed(this);
  }

  private attached(a: Attached): void {
    const again = this.headline === "attached";
    if (this.login) { // where ssh shows it too; nothing of the page's stands there
      if (this.login.text !== "") this.screen.write(new TextEncoder().encode(this.login.text.replace(/\n/g, "\r\n") + "\r\n"), () => {});
      this.login = undefined;
    }
    this.headline = "attached";
    this.where = place(a.login, a.envoy);
    if (!again) this.screen.term.textarea?.setAttribute("aria-label", `Terminal, ${this.where}`);
    else if (this.link && this.link.gaps > this.gaps) this.notice("Some output was lost while there was no connection; the screen was cleared.");
    this.gaps = this.link?.gaps ?? 0;
    // The size may have changed since the relay was asked.
    if (!a.watching && (this.told.cols !== this.size.cols || this.told.rows !== this.size.rows)) this.link?.resized(this.size);
    this.owner.changed(this);
  }

  private update(): void {
    const link = this.link;
    if (!link) return;
    this.owner.changed(this);
    const s = link.state;
    this.banner.show(link);
    if (this.login) {
      if (s.name === "waiting") this.login.anew();
      if (s.name === "connecting" || s.name === "waiting") return; // it stays, with what was typed
      if (s.name === "stopped" && !s.problem.signIn) return this.notOpened(s.problem);
      if (s.name !== "attached") this.login = undefined;
    }
    const key = s.name + (s.name === "stopped" ? s.problem.code : "");
    if (key === this.docked) return;
    this.docked = key;
    switch (s.name) {
      case "elsewhere":
        return this.say(card("The session continues elsewhere.", ["Another window or terminal of yours has it. It goes on there until you take it back."], [{ label: "Take it back", go: () => this.again() }, fleet]), false);
      case "stopped": {
        const list: Way[] = s.problem.signIn ? [{ label: "Sign in", href: signIn() }] : [];
        return this.say(problem(s.problem, [...list, ...retrying(s.problem, { label: "Try again", go: () => this.again() })]), false);
      }
      case "ended": {
        const other: Way[] = this.spec.watch ? [] : [{ label: "Open a new shell", go: () => this.owner.another(this) }];
        const c = ending(link, [...other, fleet]);
        if (c) this.say(c, false);
        return;
      }
      case "connecting":
        if (!link.info) return this.say(el("div", { class: "card", role: "status" }, el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), "Connecting…")), true);
        return this.dockOff();
      default:
        if (s.name === "attached" || link.info) this.dockOff();
    }
  }

  private again(): void {
    this.link?.again();
    this.screen.focus();
  }

  private refusedToOpen(p: Problem, said?: HTMLElement): void {
    this.headline = "Not opened";
    if (p.code === "ambiguous_login") return this.say(problem(p, [fleet], chooseLogin(p.detail, (login) => void this.start(login))), true);
    const list: Way[] = p.signIn ? [{ label: "Sign in", href: signIn() }] : [];
    const other = this.spec.login ? chooseLogin("", (login) => void this.start(login)) : undefined;
    const extra = said && other ? el("div", { class: "stack" }, said, other) : (said ?? other);
    this.say(problem(p, [...list, ...retrying(p, this.retry("Try again"))], extra), true);
  }

  private retry(label: string): Way {
    return { label, go: () => void this.start() };
  }

  private say(c: HTMLElement, full: boolean): void {
    this.dock.replaceChildren(c);
    this.dock.classList.toggle("full", full);
    this.dock.hidden = false;
    // While something is under way the focus stays: who types ahead must not press a button.
    if (!this.panel.hidden && c.getAttribute("role") !== "status") c.querySelector<HTMLElement>("input, button, a")?.focus();
  }

  private dockOff(): void {
    const had = this.dock.contains(document.activeElement) || document.activeElement === document.body;
    this.dock.hidden = true;
    this.dock.replaceChildren();
    if (had && !this.panel.hidden && this.opened) this.screen.focus();
  }

  // nameEnvoy fills the title while the session opens; Attached has the last word.
  private async nameEnvoy(): Promise<void> {
    try {
      const e = await relay.envoy(this.spec.envoy);
      if (this.link?.info) return;
      this.where = plain(e.hostname, 64);
      this.owner.changed(this);
    } catch {
      // connect tells what is wrong
    }
  }
}
