import { button, el } from "../viewer/dom";
import type { Link } from "./link";
import type { Screen } from "./screen";
import { amount } from "../viewer/text";

const largePaste = 1 << 20; // characters, from which on its progress is worth a line

/** Banner lies over the screen and tells of a connection that is lost, of keys that wait, of a paste on its way. */
export class Banner {
  readonly element = el("div", { class: "banner", hidden: true });
  private shown = "";

  constructor(private readonly screen: Screen) {}

  show(link: Link): void {
    const parts = link.over ? [] : [...this.connection(link), ...this.held(link), ...this.paste(link)];
    const shown = parts.map((p) => p.textContent ?? "").join("|");
    if (shown === this.shown) return;
    if (this.shown === "") {
      // Not where the person types, and not over what asks something at the bottom.
      const { cursorY } = this.screen.term.buffer.active;
      this.element.classList.toggle("below", link.retrying && cursorY < this.screen.term.rows / 2);
    }
    this.shown = shown;
    const focused = this.element.contains(document.activeElement) ? document.activeElement?.textContent : undefined;
    this.element.replaceChildren(...parts);
    this.element.hidden = parts.length === 0;
    if (focused === undefined) return;
    const same = [...this.element.querySelectorAll("button")].find((b) => b.textContent === focused);
    if (same) same.focus();
    else this.screen.focus();
  }

  private connection(link: Link): Node[] {
    if (!link.info || !link.retrying) return [];
    // Whether the session still is there, only the relay knows: it may have been restarted.
    const lost = el("span", { class: "dot warn" }, "No connection to the relay; trying again.");
    return link.state.name === "waiting" ? [lost, this.button("Try now", () => link.nudge())] : [lost];
  }

  private held(link: Link): Node[] {
    if (link.held === 0) return [];
    const n = link.heldKeys;
    const what = n > 0 ? `${n} ${n === 1 ? "key waits" : "keys wait"} for the connection.` : `${amount(link.held)} bytes of input wait for the connection.`;
    return [el("span", {}, what), this.button("Discard", () => link.discard())];
  }

  private paste(link: Link): Node[] {
    const p = link.paste;
    if (!p || p.total < largePaste) return [];
    const bar = el("progress", { max: String(p.total), value: String(p.done) });
    return [el("label", { class: "row" }, `Pasting ${amount(p.done)} of ${amount(p.total)}`, bar), this.button("Cancel", () => link.cancelPaste())];
  }

  private button(label: string, f: () => void): Node {
    return button(label, { class: "button slim" }, () => {
      f();
      this.screen.focus();
    });
  }
}
