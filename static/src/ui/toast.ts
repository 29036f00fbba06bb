import { html } from "lit";
import { repeat } from "lit/directives/repeat.js";
import { Part } from "./element";
import { icon } from "./icon";

const life = 6000; // ms; one that tells of a failure stays until it is closed
const most = 4; // at once: the oldest goes

type Kind = "" | "ok" | "bad";
type Toast = { id: number; text: string; kind: Kind };

/** Toasts tell what happened, in the corner and to screen readers. */
export class Toasts extends Part {
  static override properties = { list: { state: true } };
  declare list: Toast[];
  private last = 0;

  constructor() {
    super();
    this.list = [];
  }

  override connectedCallback(): void {
    super.connectedCallback();
    this.setAttribute("popover", "manual"); // above dialogs, which are in the top layer
    this.setAttribute("role", "status");
  }

  add(text: string, kind: Kind): void {
    const id = ++this.last;
    this.list = [...this.list, { id, text, kind }].slice(-most);
    if (this.matches(":popover-open")) this.hidePopover();
    this.showPopover();
    if (kind !== "bad") setTimeout(() => this.drop(id), life);
  }

  private drop(id: number): void {
    this.list = this.list.filter((t) => t.id !== id);
    if (!this.list.length && this.matches(":popover-open")) this.hidePopover();
  }

  override render() {
    return repeat(
      this.list,
      (t) => t.id,
      (t) => html`<div class="toast ${t.kind}">
        <div>${t.text}</div>
        <button class="button quiet slim" type="button" aria-label="Dismiss" @click=${() => this.drop(t.id)}>${icon("close")}</button>
      </div>`,
    );
  }
}

customElements.define("sc-toasts", Toasts);

/** toast shows a sentence for a while. */
export function toast(text: string, kind: Kind = ""): void {
  let host = document.querySelector("sc-toasts");
  if (!host) {
    host = document.createElement("sc-toasts");
    document.body.append(host);
  }
  (host as Toasts).add(text, kind);
}
