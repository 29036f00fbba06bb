import { Client } from "@glokon/guacamole-common-js";
import type { Envoy, Opening } from "../api/model";
import { Problem } from "../api/problem";
import * as relay from "../api/relay";
import { codeNamed } from "../wire/codes";
import { sentence } from "../wire/hints";
import type { Attached } from "../wire/messages";
import { clock } from "../viewer/clock";
import { ask, button, el, icon } from "../viewer/dom";
import { endingOf } from "../viewer/ending";
import { askBeforeLeaving, askBeforeUnload } from "../viewer/leave";
import { onNetwork } from "../viewer/network";
import { broken, card, fleet, problem, progress, retrying, signIn, type Way } from "../viewer/panel";
import { StatusLine, type Seen } from "../viewer/status";
import { place, plain } from "../viewer/text";
import { fullScreen, ToolStrip } from "../viewer/toolstrip";
import { Dialer } from "../viewer/transport";
import { Chords } from "./chords";
import { ClipboardPane } from "./clipboard";
import { credentials } from "./credentials";
import { DrivePane } from "./drive";
import { drops } from "./drop";
import { consoleForm, rdpForm, type Visit, type Wish } from "./form";
import { Keys, wayOut } from "./keys";
import { DesktopLink } from "./link";
import { machine, open, ready } from "./opening";
import type { Pane } from "./pane";
import { Screen } from "./screen";
import { Sound } from "./sound";
import { address, type Spec } from "./spec";
import { keysymsOf, mostTyped } from "./text";
import { Toolbar } from "./toolbar";
import type { AttachmentTunnel } from "./tunnel";

const noticeTime = 8000; // ms
const loginRefused = codeNamed("desktop_login")?.number;

/** Page is one desktop: what leads to it, its picture, and what is to be said about it. */
export class Page implements Seen {
  link: DesktopLink | undefined;
  where: string;
  headline = "";

  private envoy: Envoy | undefined;
  private client: Client | undefined;
  private busy = new AbortController();
  private asking = new AbortController(); // the dialog for what the server wants to know
  private answered = false; // and the person has answered it
  private refused = false; // the answer to the session before was wrong
  private insists = false; // the person wants to try where no server answers
  private docked = "";
  private readonly dialer = new Dialer();
  private readonly screen: Screen;
  private readonly keys: Keys;
  private readonly sound = new Sound(() => this.draw());
  private readonly status = new StatusLine("The desktop's pixels");
  private readonly strip = new ToolStrip("Session", () => this.screen.focus());
  private readonly toolbar: Toolbar;
  private readonly chords: Chords;
  private readonly clipboard: ClipboardPane;
  private readonly drive: DrivePane;
  private readonly panes: Pane[];
  private readonly name = el("span", { class: "name" });
  private readonly dock = el("div", { class: "dock", hidden: true });
  private readonly banner = el("div", { class: "banner", hidden: true });
  private readonly target = el("div", { class: "drop", hidden: true }, el("p"));
  private readonly notices = el("div", { class: "notices", role: "status" });

  constructor(body: HTMLElement, readonly spec: Spec) {
    this.where = plain(spec.envoy, 8);
    this.keys = new Keys((keysym, down) => this.client?.sendKeyEvent(down ? 1 : 0, keysym), () => this.draw());
    this.screen = new Screen({
      key: (keysym, down) => (down ? this.keys.down(keysym) : this.keys.up(keysym)),
      text: (t) => this.typed(t),
      fits: (w, h) => this.fits(w, h),
      measured: () => this.draw(),
      gesture: () => this.sound.wake(),
    });
    const back = () => {
      this.screen.focus();
      this.draw();
    };
    this.chords = new Chords((...k) => this.keys.chord(...k), back);
    this.clipboard = new ClipboardPane(back);
    this.drive = new DrivePane(clock, () => this.draw(), back);
    this.panes = [this.chords, this.clipboard, this.drive];
    this.toolbar = new Toolbar({
      strip: this.strip,
      chords: () => this.toggle(this.chords), clipboard: () => this.toggle(this.clipboard), files: () => this.toggle(this.drive),
      zoom: () => this.zoom(), fingers: () => this.fingers(), sound: () => this.sound.toggle(),
      full: () => void this.full(), end: () => void this.end(), notice: (t) => this.notice(t),
      press: (k) => this.keys.press(k), stick: (k) => this.keys.stick(k), type: () => this.screen.type(), focus: back,
    });
    const leave = el("a", { class: "button quiet icon", href: "/", title: "Fleet", "aria-label": "Fleet" }, icon("back"));
    const bars = button("Menu", { class: "button slim bars" }, () => this.bars(true));
    body.append(el("header", { class: "bar" }, leave, this.name, this.strip.element),
      el("div", { class: "work" }, el("main", { class: "panels stage" }, this.screen.element, this.screen.sink, this.banner, this.dock, this.target, this.notices, bars), ...this.panes.map((p) => p.element)),
      el("footer", {}, this.toolbar.keys, el("div", { class: "foot" }, this.status.element, el("p", { class: "way-out", id: "way-out" }, el("kbd", {}, "Ctrl+Alt+Shift"), " leaves the desktop"))));
    wayOut(document, () => this.leave());
    drops(document, (over) => this.dragged(over), {
      takes: () => this.drive.takes,
      drop: (files, folders) => this.dropped(files, folders),
    });
    askBeforeLeaving("desktop", () => (this.link?.state.name === "attached" && !this.spec.watch ? [{ where: this.where, end: () => this.endNow() }] : []));
    askBeforeUnload(() => this.drive.busy);
    document.addEventListener("fullscreenchange", () => this.filled());
    onNetwork((changed) => this.link?.nudge(changed));
    setInterval(() => !document.hidden && this.update(), 1000);
    this.draw();
  }

  get measure(): string {
    const s = this.screen.size;
    return s && this.link?.info ? `${s.width}×${s.height}` : "";
  }

  get badges(): string[] {
    return this.link?.info?.desktop?.view ? ["view only"] : [];
  }

  /** start goes to the desktop, or asks what has to be known first. */
  async start(): Promise<void> {
    if (this.spec.session !== undefined) {
      void this.meet().catch(() => {}); // attaching tells what is wrong
      this.run(this.spec.session);
      return;
    }
    try {
      await this.meet();
    } catch (err) {
      this.stuck(Problem.from(err), { label: "Try again", go: () => void this.start() });
      return;
    }
    this.begin();
  }

  // begin asks, or connects where nothing is to be asked.
  private begin(p?: Problem): void {
    const kind = this.spec.kind.toUpperCase();
    // Nobody is asked for a password that leads nowhere.
    if (!p && this.spec.kind === "rdp" && this.spec.port === undefined && this.envoy && !this.envoy.facts.rdp && !this.insists) {
      this.headline = "Not connected";
      this.say(card(`${machine(this.envoy, this.spec)} has no remote desktop that answers.`, ["Its agent finds no RDP server at the usual port. If it listens at another one, or starts when it is asked, open it by “Other desktop…” in the machine's details, or try anyway."],
        [{ ...fleet, leave: false }, { label: "Try anyway", go: () => this.insist() }]), true);
      return this.draw();
    }
    if (p?.code === "target_refused") p = new Problem(p.code, p.status, `The machine's ${kind} server does not answer.`, p.detail, `Check on the machine that its ${kind} server runs, and at which port.`);
    const said = p && problem(p, p.signIn ? [{ label: "Sign in", href: signIn() }] : []);
    said?.removeAttribute("aria-label"); // the form has its own name
    const at = machine(this.envoy, this.spec);
    if (this.spec.kind === "rdp") {
      this.headline = "Not connected";
      this.say(rdpForm(this.spec.envoy, at, said, (wish) => void this.connect({ wish })), true);
    } else if (this.spec.console) {
      this.headline = "Not connected";
      this.say(consoleForm(plain(this.envoy?.facts.console ?? "", 32), at, said, (visit) => void this.connect({ visit })), true);
    } else if (p) this.stuck(p, { label: "Try again", go: () => void this.connect({}) });
    else void this.connect({});
    this.draw();
  }

  private insist(): void {
    this.insists = true;
    this.begin();
  }

  private async connect(ask: { wish?: Wish; visit?: Visit }): Promise<void> {
    this.link?.close();
    this.link = undefined;
    this.busy.abort();
    const busy = (this.busy = new AbortController());
    const at = machine(this.envoy, this.spec);
    const who = plain(this.envoy?.facts.console ?? "", 32) || "the user";
    this.headline = this.spec.console ? `Waiting for ${who} at ${at}'s screen to agree…` : "Opening a desktop…";
    this.say(progress(this.headline, this.spec.console ? "They have 30 seconds to answer." : "The relay asks the machine, whose desktop server lets you in.", () => busy.abort()), true);
    this.draw();
    let first: Opening;
    try {
      first = await open(this.spec, this.screen.room, ask, busy.signal);
    } catch (err) {
      if (this.busy !== busy) return;
      if (!busy.signal.aborted) return this.begin(Problem.from(err));
      this.headline = "Cancelled";
      this.say(card("You cancelled it.", [], [{ label: "Try again", go: () => this.begin() }, fleet]), true);
      return this.draw();
    } finally {
      if (ask.wish) ask.wish.password = "";
    }
    if (this.busy !== busy) return;
    this.spec.session = first.session_id;
    history.replaceState(null, "", address(this.spec));
    this.run(first.session_id, first);
  }

  private run(session: string, first?: Opening): void {
    this.docked = "";
    const link: DesktopLink = new DesktopLink(
      {
        attach: (signal) => relay.attach(session, this.spec.watch, { signal }),
        dial: (o, signal) => this.dialer.open(o, signal),
        lost: (d) => this.dialer.lost(d),
        beside: (o) => this.dialer.beside(o),
        better: this.dialer,
        ending: () => endingOf(session),
      },
      {
        changed: () => this.link === link && this.update(),
        attached: (a, t) => this.attached(a, t),
        notice: (text) => this.notice(text),
      },
      clock,
    );
    this.link = link;
    this.update();
    void link.run(first).catch((err: unknown) => {
      if (this.link === link) this.stuck(Problem.from(err), { label: "Reload the page", go: () => location.reload() });
    });
  }

  private attached(a: Attached, t: AttachmentTunnel): void {
    const may = a.desktop;
    if (!may) return;
    this.where = may.console && a.login !== "" ? `${plain(a.login, 32)}'s screen at ${plain(a.envoy, 64)}` : a.login === "" ? plain(a.envoy, 64) : place(a.login, a.envoy);
    this.screen.element.setAttribute("aria-label", `Desktop, ${this.where}`);
    this.answered = false;
    this.asking.abort();
    const client = new Client(t);
    this.client = client;
    client.onrequired = (names) => void this.need(client, names);
    client.onmsg = () => false; // who comes and goes, Watchers tells
    this.screen.show(client);
    this.clipboard.use(client, may, a.watching || may.view);
    this.drive.use(client, t, a.watching ? { ...may, upload: false } : may);
    if (may.audio) this.sound.hear(client);
    client.connect("");
    if (!this.panes.some((p) => p.open)) this.screen.focus();
  }

  // need asks the person for what the server wants to know.
  private async need(client: Client, names: string[]): Promise<void> {
    if (this.link?.info?.watching) return this.notice("The desktop server waits for the owner of the session to log in.");
    this.asking.abort();
    const asking = (this.asking = new AbortController());
    const answers = await credentials(names, machine(this.envoy, this.spec), this.refused, asking.signal);
    if (asking.signal.aborted || this.client !== client) return;
    if (!answers) return void this.endNow();
    this.answered = true;
    for (const [name, value] of answers) {
      const stream = client.createArgumentValueStream("text/plain", name);
      // Bytes of UTF-8 in base64; a password fits into one blob.
      if (value !== "") stream.sendBlob(btoa(String.fromCharCode(...new TextEncoder().encode(value))));
      stream.sendEnd();
    }
    answers.clear();
    this.screen.focus();
  }

  private update(): void {
    const link = this.link;
    if (!link) return this.draw();
    const s = link.state;
    if (s.name !== "attached") {
      this.asking.abort();
      this.client = undefined;
      this.drive.lost();
      this.keys.release();
    }
    this.screen.dim(s.name !== "attached");
    this.warn(link);
    this.draw();
    const key = s.name + (s.name === "stopped" ? s.problem.code : "");
    if (key === this.docked) return;
    this.docked = key;
    switch (s.name) {
      case "elsewhere":
        return this.say(card("The session continues elsewhere.", ["Another window of yours has it. It goes on there until you take it back."], [{ label: "Take it back", go: () => this.again() }, fleet]), false);
      case "stopped":
        return this.say(problem(s.problem, [...(s.problem.signIn ? [{ label: "Sign in", href: signIn() }] : []), ...retrying(s.problem, { label: "Try again", go: () => this.again() })]), false);
      case "ended":
        return this.ended(s.exit);
      case "connecting":
        if (!link.info) return this.say(el("div", { class: "card", role: "status" }, el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), "Connecting…")), true);
        return this.dockOff();
      default:
        if (s.name === "attached" || link.info) this.dockOff();
    }
  }

  private ended(exit: { code: number; detail: string }): void {
    this.spec.session = this.spec.watch ? this.spec.session : undefined;
    if (!this.spec.watch) history.replaceState(null, "", address(this.spec));
    this.drive.end();
    for (const p of this.panes) p.close();
    if (exit.code === loginRefused && !this.spec.watch) {
      this.refused = this.answered;
      if (this.spec.kind === "rdp" || this.answered) {
        this.link = undefined;
        if (this.spec.kind === "vnc") return void this.connect({});
        return this.begin(Problem.of("desktop_login", exit.detail));
      }
    }
    const again: Way[] = this.spec.watch ? [] : [{ label: this.spec.console ? "Ask again" : "Open it again", go: () => this.reopen() }];
    this.say(exit.code === 0 ? card("The desktop has ended.", [plain(sentence(exit.detail), 400)], [...again, fleet]) : broken(exit, [...again, fleet]), false);
  }

  private reopen(): void {
    this.refused = false;
    this.link = undefined;
    void this.start();
  }

  private again(): void {
    this.link?.again();
    this.screen.focus();
  }

  private async meet(): Promise<void> {
    this.envoy = await ready(this.spec);
    if (!this.link?.info) this.where = machine(this.envoy, this.spec);
    this.draw();
  }

  private async end(): Promise<void> {
    const what = this.spec.console ? "The user at the screen is not seen any more, by anybody." : "The connection to the desktop is ended, for everybody who sees it. An RDP server may keep what runs on it.";
    const sure = await ask({ title: `End the session on ${this.where}?`, body: [el("p", {}, what)], yes: "End the session", danger: true });
    if (sure) await this.endNow();
  }

  private async endNow(): Promise<void> {
    if (this.spec.session === undefined) return;
    try {
      await relay.endSession(this.spec.session);
    } catch (err) {
      const p = Problem.from(err);
      if (p.code !== "not_found") this.notice(`${p.title} ${p.detail} ${p.hint}`);
    }
  }

  // typed types what no key gave.
  private typed(text: string): void {
    const keysyms = keysymsOf(text, this.spec.kind === "rdp");
    if (keysyms.length > mostTyped) return this.notice("That is too much to be typed: send it by the clipboard.");
    for (const k of keysyms) this.keys.press(k);
  }

  private fits(width: number, height: number): void {
    const s = this.screen.size;
    // A VNC server's screen is somebody's: it is shown smaller, not made so.
    if (this.spec.kind === "rdp" && (s?.width !== width || s.height !== height)) this.client?.sendSize(width, height);
  }

  private zoom(): void {
    this.screen.setZoom(this.screen.zoom === "fit" ? "real" : "fit");
    this.notice(this.screen.zoom === "fit" ? "The desktop fits to the window." : "One pixel of the desktop is one of this screen.");
    this.draw();
  }

  private fingers(): void {
    this.screen.setFingers(this.screen.fingers === "pad" ? "direct" : "pad");
    this.notice(this.screen.fingers === "pad" ? "Touching works like a touchpad." : "A touch is a click where it is; two fingers zoom.");
    this.draw();
  }

  // dragged says what becomes of files that are dragged over the page.
  private dragged(over: boolean): void {
    const text = this.drive.takes ? "Drop files here: they are uploaded to the drive." : this.drive.why;
    const said = this.target.firstElementChild;
    if (said && said.textContent !== text) said.textContent = text;
    this.target.hidden = !over;
  }

  // dropped uploads files, and shows how far they are.
  private dropped(files: File[], folders: string[]): void {
    this.drive.put(files);
    for (const f of folders) this.drive.say(`${plain(f, 80)} is a folder: pack it into one file first.`);
    if (!this.drive.open) this.toggle(this.drive);
    this.screen.focus(); // the keys stay where they were
  }

  private toggle(p: Pane): void {
    if (p.open) return p.close();
    for (const other of this.panes) other.element.hidden = true;
    p.show();
    this.draw();
  }

  // leave is the way out of the desktop, and back into it.
  private leave(): void {
    this.screen.release();
    const filled = document.body.classList.contains("bare");
    if (filled) this.bars(!document.body.classList.contains("shown"));
    else if (this.screen.focused) this.strip.focus();
    else this.screen.focus();
  }

  private bars(on: boolean): void {
    document.body.classList.toggle("shown", on);
    if (on) this.strip.focus();
    else this.screen.focus();
  }

  private async full(): Promise<void> {
    if (!(await fullScreen())) this.notice("The browser does not allow full screen here.");
    this.screen.focus();
  }

  private filled(): void {
    const on = document.fullscreenElement !== null;
    document.body.classList.toggle("bare", on);
    document.body.classList.remove("shown");
    // Where the browser lets us have them: Alt+Tab, Win and Esc; Esc leaves when it is held.
    const keyboard = (navigator as { keyboard?: { lock?: () => Promise<void>; unlock?: () => void } }).keyboard;
    if (!on) keyboard?.unlock?.();
    else {
      void keyboard?.lock?.().catch(() => {});
      this.notice(`Ctrl+Alt+Shift shows the bars; ${keyboard?.lock ? "hold Esc" : "Esc"} to leave full screen.`);
    }
    this.screen.focus();
  }

  private warn(link: DesktopLink): void {
    const s = link.state.name;
    const lost = link.info !== undefined && (s === "waiting" || s === "connecting");
    this.banner.hidden = !lost;
    if (!lost || this.banner.dataset["shown"] === s) return;
    this.banner.dataset["shown"] = s;
    this.banner.replaceChildren(el("span", { class: "dot warn" }, "No connection to the relay; trying again. What you type meanwhile is lost."),
      ...(s === "waiting" ? [button("Try now", { class: "button slim" }, () => link.nudge())] : []));
  }

  private notice(text: string): void {
    const n = el("div", { class: "toast-line" }, plain(text, 400));
    this.notices.append(n);
    while (this.notices.childElementCount > 3) this.notices.firstElementChild?.remove();
    setTimeout(() => n.remove(), noticeTime);
  }

  private stuck(p: Problem, again: Way): void {
    this.headline = "Not connected";
    this.say(problem(p, [...(p.signIn ? [{ label: "Sign in", href: signIn() }] : []), ...retrying(p, again)]), true);
    this.draw();
  }

  private say(c: HTMLElement, full: boolean): void {
    this.dock.replaceChildren(c);
    this.dock.classList.toggle("full", full);
    this.dock.hidden = false;
    if (c.getAttribute("role") === "status") return;
    const empty = [...c.querySelectorAll<HTMLInputElement>("input:not([type=radio])")].find((i) => i.value === "");
    (empty ?? c.querySelector<HTMLElement>("input, button, a"))?.focus();
  }

  private dockOff(): void {
    const had = this.dock.contains(document.activeElement) || document.activeElement === document.body;
    this.dock.hidden = true;
    this.dock.replaceChildren();
    if (had) this.screen.focus();
  }

  private draw(): void {
    const link = this.link;
    const attached = link?.state.name === "attached";
    const info = link?.info;
    this.toolbar.draw({
      live: attached && !this.spec.watch,
      hands: attached && !info?.watching && !info?.desktop?.view,
      files: attached && this.drive.here, sound: this.sound.heard, muted: this.sound.muted,
      fit: this.screen.zoom === "fit", pad: this.screen.fingers === "pad", stuck: this.keys.stuck,
      open: this.chords.open ? "chords" : this.clipboard.open ? "clipboard" : this.drive.open ? "files" : undefined,
    });
    const title = `${this.where} — ${this.spec.console ? "screen" : this.spec.kind.toUpperCase()}`;
    if (document.title !== title) document.title = title;
    if (this.name.textContent !== this.where) this.name.textContent = this.where;
    this.status.show(this);
  }
}
