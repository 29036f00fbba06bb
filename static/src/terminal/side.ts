import type { Pane } from "../files/pane";
import { el } from "../viewer/dom";
import type { Tab } from "./tab";

/** Side is the files beside the terminal: each tab has its own, and those of the tab in front are seen. */
export class Side {
  readonly element = el("aside", { class: "side", "aria-label": "Files", hidden: true });
  private readonly panes = new Map<Tab, Pane>();
  private readonly told = new Map<Tab, string>(); // what a pane knows of its tab
  private make: ((t: Tab) => Pane) | undefined; // once its code is there
  private readonly narrow = matchMedia("(max-width: 760px)");

  /** beside is what lies under it in a narrow window; changed is called when it opens or closes. */
  constructor(private readonly beside: HTMLElement, private readonly front: () => Tab | undefined, private readonly changed: () => void) {
    this.narrow.addEventListener("change", () => this.cover());
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  /** busy says that something is on its way, of all tabs or of one. */
  busy(t?: Tab): boolean {
    return t ? this.panes.get(t)?.busy === true : [...this.panes.values()].some((p) => p.busy);
  }

  async toggle(): Promise<void> {
    if (this.open) return this.close();
    try {
      const { Pane } = await import("../files/pane");
      this.make ??= () => new Pane({ close: () => this.close() });
    } catch {
      this.front()?.notice("The files could not be loaded: reload the page.");
      return;
    }
    this.element.hidden = false;
    this.cover();
    this.show();
    const t = this.front();
    if (t) this.panes.get(t)?.focus();
    this.changed();
  }

  /** show brings the files of the tab in front. */
  show(): void {
    const t = this.front();
    if (!this.open || !t || !this.make) return;
    let p = this.panes.get(t);
    if (!p) {
      this.panes.set(t, (p = this.make(t)));
      this.element.append(p.element);
    }
    for (const [other, pane] of this.panes) pane.element.hidden = other !== t;
    this.follow(t);
  }

  /** follow takes over what has become of a tab's session. */
  follow(t: Tab): void {
    const p = this.panes.get(t);
    if (!p) return;
    const { link } = t;
    const now = `${link?.state.name} ${link?.info?.session} ${t.where}`;
    if (this.told.get(t) === now) return;
    this.told.set(t, now);
    if (t.spec.watch) return p.end("You are watching: only the owner of the session has its files.");
    if (!link?.info) return p.lost();
    const s = link.state.name;
    if (s === "attached" || s === "elsewhere") p.use({ session: link.info.session, where: t.where, rights: link.info.rights });
    else if (s === "ended") p.end("The session has ended.");
    else p.lost();
  }

  drop(t: Tab): void {
    this.panes.get(t)?.dispose();
    this.panes.delete(t);
    this.told.delete(t);
  }

  private close(): void {
    this.element.hidden = true;
    this.cover();
    this.front()?.screen.focus();
    this.changed();
  }

  // In a narrow window it lies over the terminal, which nobody can reach then.
  private cover(): void {
    this.beside.inert = this.open && this.narrow.matches;
  }
}
