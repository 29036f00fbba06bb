import { ask, button, el, icon } from "../viewer/dom";
import { askBeforeLeaving, askBeforeUnload } from "../viewer/leave";
import { onNetwork } from "../viewer/network";
import { StatusLine } from "../viewer/status";
import { deed, named } from "./shortcut";
import { Side } from "./side";
import { Tab, type Owner, type Spec } from "./tab";
import { Toolbar } from "./toolbar";
import { plain } from "../viewer/text";

const storeKey = "scrier.tabs"; // sessionStorage: the sessions of this page, for a reload
const ringTime = 2000; // ms that a bell is seen
const most = 20; // tabs; each may hold 10,000 lines

/** Tabs is the page: its sessions, one of them in front. */
export class Tabs implements Owner {
  private readonly list: Tab[] = [];
  private front: Tab | undefined;
  private last = 0;
  private readonly strip = el("div", { class: "strip", role: "tablist", "aria-label": "Sessions" });
  private readonly panels = el("main", { class: "panels" });
  private readonly status = new StatusLine("Columns × rows");
  private readonly toolbar: Toolbar;
  private readonly side = new Side(this.panels, () => this.front, () => this.draw());
  private readonly handles = new Map<Tab, HTMLElement>();
  private readonly ended = new WeakSet<Tab>();
  private later: ReturnType<typeof setTimeout> | undefined;

  constructor(body: HTMLElement) {
    this.toolbar = new Toolbar(() => this.front, { end: () => void this.end(), restyle: () => this.restyle(), files: () => void this.side.toggle() });
    const plus = button(`New session on the same machine (${named("T")})`, { class: "button quiet icon", title: `New session on the same machine (${named("T")})` }, () => this.front && this.another(this.front), icon("plus"));
    const back = el("a", { class: "button quiet icon", href: "/", title: "Fleet", "aria-label": "Fleet" }, icon("back"));
    body.append(el("header", { class: "bar" }, back, this.strip, plus, this.toolbar.element), el("div", { class: "beside" }, this.panels, this.side.element), el("footer", {}, this.toolbar.keys, this.status.element));
    this.strip.addEventListener("keydown", (e) => this.stripKey(e));
    askBeforeLeaving("shell", () => this.list.filter((t) => t.live && t.session !== undefined).map((t) => ({ where: t.where, end: () => t.end() })));
    askBeforeUnload(() => this.list.some((t) => t.unsent) || this.side.busy());
    addEventListener("beforeprint", () => this.print());
    addEventListener("afterprint", () => document.querySelector("body > .printed")?.remove());
    document.addEventListener("keydown", (e) => {
      // Keys in the terminal come through it.
      if (!(e.target instanceof Element && e.target.closest(".xterm")) && !document.querySelector("dialog[open]")) this.key(e);
    });
    onNetwork((changed) => {
      for (const t of this.list) t.link?.nudge(changed);
    });
    setInterval(() => {
      if (document.hidden) return;
      this.front?.tick();
      this.draw();
    }, 1000);
  }

  /** restore brings back the sessions that this page had before it was loaded again. */
  restore(except: string | undefined): Spec[] {
    try {
      const v = JSON.parse(sessionStorage.getItem(storeKey) ?? "[]") as unknown;
      if (!Array.isArray(v)) return [];
      return v.filter((s): s is Spec => typeof s === "object" && s !== null && typeof (s as Spec).session === "string" && typeof (s as Spec).envoy === "string" && (s as Spec).session !== except).slice(0, most);
    } catch {
      return [];
    }
  }

  open(spec: Spec, front: boolean): Tab | undefined {
    if (this.list.length >= most) {
      this.front?.notice(`One page has at most ${most} tabs.`);
      return undefined;
    }
    const t = new Tab(spec, String(++this.last), this);
    this.list.push(t);
    this.panels.append(t.panel);
    const close = button("Close", { class: "button quiet close", tabindex: "-1", "aria-hidden": "true" }, () => void this.close(t), icon("close"));
    const name = el("button", { type: "button", role: "tab", class: "tab", id: `tab-${t.id}`, "aria-controls": `panel-${t.id}`, "aria-keyshortcuts": "Delete", "aria-description": "Delete closes it" }, el("span", { class: "name" }));
    name.addEventListener("click", () => this.show(t));
    name.addEventListener("auxclick", (e) => e.button === 1 && void this.close(t));
    const handle = el("div", { class: "handle", role: "presentation" }, name, close);
    this.handles.set(t, handle);
    this.strip.append(handle);
    if (front || !this.front) this.show(t);
    else {
      t.hide();
      t.screen.borrow(this.front.size);
    }
    void t.start();
    this.save();
    return t;
  }

  another(t: Tab): void {
    const { envoy, protocol, login } = t.spec;
    if (t.spec.session !== undefined && t.link?.state.name === "ended") {
      // In its place: nobody needs the old one.
      this.open({ envoy, protocol, login }, true);
      this.drop(t);
      return;
    }
    this.open({ envoy, protocol, login }, true);
  }

  named(t: Tab): void {
    if (t === this.front) this.address(t);
    this.save();
  }

  changed(t: Tab): void {
    if (t.link?.state.name === "ended" && !this.ended.has(t)) {
      this.ended.add(t);
      this.save(); // a reload needs not bring it back
    }
    // Not an animation frame: a page in the background has a title as well.
    this.side.follow(t);
    this.later ??= setTimeout(() => {
      this.later = undefined;
      this.draw();
    }, 30);
  }

  font(by: number): void {
    this.toolbar.font(by);
  }

  // print puts all that the terminal in front keeps on the page as text: a screen is only what is seen of it.
  private print(): void {
    const b = this.front?.screen.term.buffer.active;
    if (!b || !this.front) return;
    let text = "";
    for (let i = 0; i < b.length; i++) {
      const line = b.getLine(i);
      if (line) text += (i > 0 && !line.isWrapped ? "\n" : "") + line.translateToString(true);
    }
    document.body.append(el("pre", { class: "printed" }, `${this.front.where}\n\n${text.trimEnd()}\n`));
  }

  /** key takes the page's own keys; the terminal gets all others. */
  key(e: KeyboardEvent): boolean {
    const what = deed(e);
    const t = this.front;
    if (what === undefined) return false;
    if (what === "paste") return true; // the browser's own
    const to = typeof what === "number" && this.list.length > 1 ? this.list[what - 1] : undefined;
    if (typeof what === "number" && !to) return false;
    e.preventDefault();
    if (to) this.show(to);
    else if (what === "copy") void t?.copy();
    else if (what === "find") t?.search.open();
    else if (what === "toolbar") this.toolbar.focus();
    else if (t) this.another(t);
    return true;
  }

  private show(t: Tab): void {
    if (this.front !== t) this.front?.hide();
    this.front = t;
    t.show();
    this.side.show();
    this.address(t);
    this.draw();
  }

  // address makes a reload come back to the same session.
  private address(t: Tab): void {
    const q = new URLSearchParams({ protocol: t.spec.protocol });
    if (t.session !== undefined) q.set("session", t.session);
    else if (t.spec.login) q.set("login", t.spec.login);
    if (t.spec.watch) q.set("watch", "1");
    history.replaceState(null, "", `/scrier/${encodeURIComponent(t.spec.envoy)}?${q}`);
  }

  private async end(): Promise<void> {
    const t = this.front;
    if (t?.live && (await this.sure(t))) await t.end();
  }

  private sure(t: Tab): Promise<boolean> {
    return ask({ title: `End the session on ${t.where}?`, body: [el("p", {}, `The shell and what runs in it are ended, for everybody who sees it.${this.side.busy(t) ? " What is being uploaded is given up." : ""}`)], yes: "End the session", danger: true });
  }

  private async close(t: Tab): Promise<void> {
    if (t.live) {
      if (!(await this.sure(t))) return;
      void t.end();
    }
    this.drop(t);
  }

  private drop(t: Tab): void {
    const at = this.list.indexOf(t);
    if (at < 0) return;
    this.list.splice(at, 1);
    this.handles.get(t)?.remove();
    this.handles.delete(t);
    t.close();
    this.side.drop(t);
    this.save();
    if (this.front !== t) return;
    this.front = undefined;
    const next = this.list[Math.min(at, this.list.length - 1)];
    if (next) this.show(next);
    else location.assign("/");
  }

  private save(): void {
    try {
      sessionStorage.setItem(storeKey, JSON.stringify(this.list.filter((t) => t.session !== undefined && !this.ended.has(t)).map((t) => t.spec)));
    } catch {
      // then a reload brings back the one in front, whose session the address has
    }
  }

  private restyle(): void {
    for (const t of this.list) t.screen.restyle();
  }

  private stripKey(e: KeyboardEvent): void {
    const at = this.front ? this.list.indexOf(this.front) : -1;
    const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: this.list.length - 1 }[e.key];
    if (e.key === "Delete" && this.front) void this.close(this.front);
    if (to === undefined) return;
    e.preventDefault();
    const t = this.list.at(to % this.list.length);
    if (!t) return;
    this.show(t);
    this.handles.get(t)?.querySelector<HTMLElement>("[role=tab]")?.focus();
  }

  private draw(): void {
    for (const [t, handle] of this.handles) {
      const tab = handle.querySelector("[role=tab]");
      const name = handle.querySelector(".name");
      const front = t === this.front;
      tab?.setAttribute("aria-selected", String(front));
      tab?.setAttribute("tabindex", front ? "0" : "-1");
      // In front it is seen for a moment; behind, or while nobody looks, until somebody does.
      if (t.bell && front && !document.hidden && performance.now() - t.rang > ringTime) t.bell = false;
      const bell = t.bell;
      t.panel.classList.toggle("rang", bell && front);
      const text = plain(t.fullTitle, 60) + (bell ? " (bell)" : "");
      if (name && name.textContent !== text) {
        name.textContent = text;
        tab?.setAttribute("title", t.fullTitle);
        handle.querySelector(".close")?.setAttribute("title", `Close ${t.where}`);
      }
      const s = t.link?.state.name;
      handle.dataset["state"] = s === "attached" ? (t.spec.watch ? "watch" : "ok") : s === "ended" || s === undefined ? "off" : "warn";
    }
    if (this.front) document.title = (this.front.bell && document.hidden ? "(bell) " : "") + this.front.fullTitle;
    this.status.show(this.front);
    this.toolbar.draw(this.side.open);
  }
}
