import { composing } from "../ui/typing";
import { button, el, icon } from "../viewer/dom";

/** Pane is a panel beside the picture; one is open at a time. */
export class Pane {
  readonly element: HTMLElement;
  protected readonly body = el("div", { class: "stack" });

  constructor(readonly title: string, private readonly closed: () => void) {
    const id = `pane-${title.toLowerCase().replace(/\W+/g, "-")}`;
    this.element = el("aside", { class: "pane", "aria-labelledby": id, hidden: true },
      el("div", { class: "row nowrap" }, el("h2", { id }, title), button("Close", { class: "button quiet icon end", title: "Close" }, () => this.close(), icon("close"))), this.body);
    this.element.addEventListener("keydown", (e) => {
      if (e.key !== "Escape" || composing(e)) return;
      e.preventDefault();
      this.close();
    });
  }

  get open(): boolean {
    return !this.element.hidden;
  }

  show(): void {
    this.element.hidden = false;
    this.element.querySelector<HTMLElement>("textarea:not(:disabled), .stack button:not(:disabled), button")?.focus();
  }

  close(): void {
    if (!this.open) return;
    this.element.hidden = true;
    this.closed();
  }
}

/** forbidden says which line of the relay's configuration does not allow something. */
export function forbidden(what: string, line: string): HTMLElement {
  return el("p", { class: "help" }, `${what} is switched off on this relay: `, el("code", {}, line), " in server.yaml.");
}
