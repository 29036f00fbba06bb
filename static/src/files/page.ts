import type { Opening } from "../api/model";
import { Problem } from "../api/problem";
import * as relay from "../api/relay";
import { chooseScheme, scheme } from "../ui/scheme";
import { clock } from "../viewer/clock";
import { ask, button, el, icon } from "../viewer/dom";
import { endingOf } from "../viewer/ending";
import { askBeforeLeaving, askBeforeUnload } from "../viewer/leave";
import { chooseLogin, Login, quote } from "../viewer/login";
import { onNetwork } from "../viewer/network";
import { broken, card, fleet, problem, progress, retrying, signIn, type Way } from "../viewer/panel";
import { StatusLine, type Seen } from "../viewer/status";
import { place, plain } from "../viewer/text";
import { Dialer } from "../viewer/transport";
import type { Ask, Attached, Said } from "../wire/messages";
import { channel, Hold } from "./hold";
import { Pane } from "./pane";
import { address, type Spec } from "./spec";

/** Page is the files of one machine, over a session of their own. */
export class Page implements Seen {
  link: Hold | undefined;
  where: string;
  headline = "";
  readonly measure = "";
  private busy = new AbortController();
  private login: Login | undefined; // while the machine has not let us in
  private docked = "";
  private readonly dialer = new Dialer();
  private readonly pane: Pane;
  private readonly status = new StatusLine("");
  private readonly name = el("h1", { class: "name" });
  private readonly dock = el("div", { class: "dock", hidden: true });
  private readonly shell = el("a", { class: "button quiet tool", title: "Open a shell" }, icon("keys"), el("span", { class: "label" }, "Shell"));
  private readonly endButton: HTMLButtonElement;

  constructor(body: HTMLElement, private readonly spec: Spec) {
    this.where = plain(spec.envoy, 8);
    this.pane = new Pane({
      moved: (p) => {
        spec.path = p;
        history.replaceState(null, "", address(spec));
      },
    });
    this.shell.setAttribute("aria-label", "Open a shell");
    const theme = button("Theme", { class: "button quiet icon" }, () => {
      chooseScheme(({ system: "light", light: "dark", dark: "system" } as const)[scheme()]);
      theme.title = `Theme: ${scheme()}`;
    }, icon("theme"));
    theme.title = `Theme: ${scheme()}`;
    this.endButton = button("End session", { class: "button quiet tool danger", title: "End session" }, () => void this.end(), icon("end"), el("span", { class: "label" }, "End session"));
    const back = el("a", { class: "button quiet icon", href: "/", title: "Fleet", "aria-label": "Fleet" }, icon("back"));
    body.append(el("header", { class: "bar" }, back, this.name, this.shell, theme, this.endButton),
      el("main", { class: "panels filled" }, this.pane.element, this.dock), el("footer", {}, this.status.element));
    askBeforeLeaving("file session", () => (this.live && !this.pane.busy ? [{ where: this.where, end: () => this.endNow() }] : []));
    askBeforeUnload(() => this.pane.busy);
    onNetwork((changed) => this.link?.nudge(changed));
    setInterval(() => !document.hidden && this.draw(), 1000);
    this.draw();
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
    void this.nameEnvoy();
    if (this.spec.session !== undefined) return this.run(this.spec.session);
    this.headline = "Opening…";
    this.say(progress("Opening the files…", "The relay asks the machine, which finds your login and lets the session's key in.", () => busy.abort()), true);
    this.draw();
    let first: Opening;
    try {
      first = await relay.connect({ envoy_id: this.spec.envoy, protocol: "ssh", channel, answers: true, ...(this.spec.login ? { login: this.spec.login } : {}) }, { signal: busy.signal });
    } catch (err) {
      if (this.busy !== busy) return;
      this.notOpened(busy.signal.aborted ? new Problem("cancelled", 0, "You cancelled it.") : Problem.from(err));
      return;
    }
    if (this.busy !== busy) return;
    this.spec.session = first.session_id;
    history.replaceState(null, "", address(this.spec));
    this.run(first.session_id, first);
  }

  private get live(): boolean {
    const s = this.link?.state.name;
    return this.spec.session !== undefined && s !== undefined && s !== "ended" && s !== "closed" && s !== "elsewhere";
  }

  private run(session: string, first?: Opening): void {
    const link: Hold = new Hold(
      {
        attach: (signal) => relay.attach(session, false, { signal }),
        dial: (o, signal) => this.dialer.open(o, signal),
        lost: (d) => this.dialer.lost(d),
        better: this.dialer,
        ending: () => endingOf(session),
      },
      {
        changed: () => this.link === link && this.update(),
        attached: (a) => this.attached(a),
        notice: (text) => this.headlineSaid(text),
        heard: (m) => this.heard(m),
      },
      clock,
    );
    this.link = link;
    this.update();
    void link.run(first).catch((err: unknown) => {
      if (this.link === link) this.say(problem(Problem.from(err), [{ label: "Reload the page", go: () => location.reload() }]), true);
    });
  }

  private attached(a: Attached): void {
    this.login = undefined;
    this.where = place(a.login, a.envoy);
    this.pane.use({ session: a.session, where: this.where, rights: a.rights }, this.spec.path);
    this.dockOff();
    this.draw();
  }

  // heard shows what the machine says and asks before the session is open.
  private heard(m: Said | Ask): void {
    if (!this.login) {
      this.login = new Login({ answer: (id, texts) => this.link?.answer(id, texts), cancel: () => this.giveUp() });
      this.headline = "Logging in…";
      this.where = place(m.login, m.envoy);
    }
    if (!this.dock.contains(this.login.element)) this.say(this.login.element, true);
    if (m.type === "said") this.login.said(m);
    else this.login.ask(m);
    this.draw();
  }

  private giveUp(): void {
    this.link?.giveUp();
    if (this.link?.state.name === "closed") this.notOpened(new Problem("cancelled", 0, "You cancelled it."));
  }

  private notOpened(p: Problem): void {
    const said = this.login && quote(this.where, this.login.text);
    this.link?.close();
    this.link = undefined;
    this.login = undefined;
    this.spec.session = undefined;
    history.replaceState(null, "", address(this.spec));
    const again: Way = { label: p.code === "cancelled" ? "Open the files" : "Try again", go: () => void this.start() };
    this.headline = p.code === "cancelled" ? "Cancelled" : "Not opened";
    if (p.code === "cancelled") this.say(card("You cancelled it.", [], [again, fleet]), true);
    else if (p.code === "ambiguous_login") this.say(problem(p, [fleet], chooseLogin(p.detail, (login) => void this.start(login))), true);
    else {
      const other = this.spec.login ? chooseLogin("", (login) => void this.start(login)) : undefined;
      this.say(problem(p, [...signing(p), ...retrying(p, again)], said && other ? el("div", { class: "stack" }, said, other) : (said ?? other)), true);
    }
    this.draw();
  }

  private update(): void {
    const { link } = this;
    if (!link) return this.draw();
    const s = link.state;
    if (s.name !== "attached") this.pane.lost();
    this.draw();
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
        return this.say(card("These files are open elsewhere.", ["Another window of yours has the session. It goes on there until you take it back."], [{ label: "Take it back", go: () => link.again() }, fleet]), false);
      case "stopped":
        return this.say(problem(s.problem, [...signing(s.problem), ...retrying(s.problem, { label: "Try again", go: () => link.again() })]), false);
      case "ended": {
        // What is on its way goes on with the next session.
        this.spec.session = undefined;
        history.replaceState(null, "", address(this.spec));
        this.pane.end("The session has ended.");
        const waits = this.pane.busy ? "What is on its way goes on when it is open again." : undefined;
        const list: Way[] = [{ label: "Open it again", go: () => void this.start() }, fleet];
        return this.say(s.exit.code === 0 ? card("The session has ended.", [waits], list) : broken(s.exit, list, waits), false);
      }
      case "connecting":
        if (!link.info) this.say(el("div", { class: "card", role: "status" }, el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), "Connecting…")), true);
    }
  }

  private headlineSaid(text: string): void {
    this.say(card(plain(text, 400), [], [{ label: "Dismiss", go: () => this.dockOff() }]), false);
  }

  private async end(): Promise<void> {
    if (!this.live) return;
    const words = this.pane.busy ? "What is on its way is given up." : "The files stay as they are.";
    if (await ask({ title: `End the session on ${this.where}?`, body: [el("p", {}, words)], yes: "End the session", danger: true })) await this.endNow();
  }

  private async endNow(): Promise<void> {
    if (this.spec.session === undefined) return;
    try {
      await relay.endSession(this.spec.session);
    } catch (err) {
      const p = Problem.from(err);
      if (p.code !== "not_found") this.say(problem(p, [{ label: "Dismiss", go: () => this.dockOff() }]), false);
    }
  }

  private draw(): void {
    this.name.textContent = `Files on ${this.where}`;
    document.title = `Files on ${this.where}`;
    this.shell.href = `/scrier/${encodeURIComponent(this.spec.envoy)}?${new URLSearchParams({ protocol: "ssh", ...(this.spec.login ? { login: this.spec.login } : {}) })}`;
    this.endButton.disabled = !this.live;
    this.status.show(this);
  }

  private say(c: HTMLElement, full: boolean): void {
    this.dock.replaceChildren(c);
    this.dock.classList.toggle("full", full);
    this.dock.hidden = false;
    this.pane.element.inert = full;
    if (c.getAttribute("role") !== "status") c.querySelector<HTMLElement>("input, button, a")?.focus();
  }

  private dockOff(): void {
    const had = this.dock.contains(document.activeElement) || document.activeElement === document.body;
    this.dock.hidden = true;
    this.dock.replaceChildren();
    this.pane.element.inert = false;
    if (had) this.pane.focus();
  }

  // nameEnvoy fills the title while the session opens; Attached has the last word.
  private async nameEnvoy(): Promise<void> {
    try {
      const e = await relay.envoy(this.spec.envoy);
      if (this.link?.info) return;
      this.where = plain(e.hostname, 64);
      this.draw();
    } catch {
      // connect tells what is wrong
    }
  }
}

function signing(p: Problem): Way[] {
  return p.signIn ? [{ label: "Sign in", href: signIn() }] : [];
}
