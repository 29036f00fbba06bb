import { button, el, icon, type Icon } from "./dom";

/** ToolStrip is a row of tools, and a menu of those that are needed less; where there is no room, all are in the menu. */
export class ToolStrip {
  readonly element: HTMLElement;
  private readonly tools = el("div", { class: "tools" });
  private readonly rest = el("div", { class: "rest" });
  private readonly folding = el("div", { class: "folding", id: "tools" }, this.tools, this.rest);
  private readonly more: HTMLButtonElement;

  /** leave brings the focus back to where the person works. */
  constructor(label: string, private readonly leave: () => void) {
    this.more = button("More", { class: "button quiet icon more", "aria-expanded": "false", "aria-controls": "tools" }, () => this.fold(this.folding.classList.contains("open")), icon("more"));
    this.element = el("div", { class: "toolbar", role: "toolbar", "aria-label": label }, this.folding, this.more);
    this.element.addEventListener("keydown", (e) => this.key(e));
    document.addEventListener("pointerdown", (e) => e.target instanceof Node && !this.element.contains(e.target) && this.fold());
  }

  /** tool makes a button; its label is seen in the menu. */
  tool(name: Icon, label: string, hint: string, f: () => void): HTMLButtonElement {
    return button(label, { class: "button quiet tool", title: hint === "" ? label : `${label} (${hint})` }, () => {
      this.fold();
      f();
    }, icon(name), el("span", { class: "label" }, label));
  }

  add(...tools: HTMLElement[]): void {
    this.tools.append(...tools);
  }

  /** addLess adds tools that are always in the menu. */
  addLess(...tools: HTMLElement[]): void {
    this.rest.append(...tools);
    this.element.classList.add("has-rest");
  }

  focus(): void {
    const first = [...this.tools.querySelectorAll<HTMLElement>("button:not(:disabled):not([hidden])")].find((b) => b.offsetParent);
    (first ?? this.more).focus();
  }

  fold(on = true): void {
    this.folding.classList.toggle("open", !on);
    this.more.setAttribute("aria-expanded", String(!on));
  }

  private key(e: KeyboardEvent): void {
    const all = [...this.element.querySelectorAll("button")].filter((b) => b.offsetParent && !b.disabled);
    const at = all.findIndex((b) => b === document.activeElement);
    const step = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[e.key];
    if (e.key === "Escape") {
      this.fold();
      this.leave();
    } else if (step !== undefined) all.at((at + step) % all.length)?.focus();
    else return;
    e.preventDefault();
  }
}

/** fullScreen turns it on or off, and says whether the browser did. */
export async function fullScreen(): Promise<boolean> {
  try {
    if (document.fullscreenElement) await document.exitFullscreen();
    else await document.documentElement.requestFullscreen();
    return true;
  } catch {
    return false;
  }
}
