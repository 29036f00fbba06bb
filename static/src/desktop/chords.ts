import { button, el } from "../viewer/dom";
import { functionKey, sym } from "./keys";
import { Pane } from "./pane";

/** Chords are the keys that a browser or the person's own desktop keeps for itself. */
export class Chords extends Pane {
  constructor(press: (...keysyms: number[]) => void, closed: () => void) {
    super("Send keys", closed);
    const chord = (label: string, ...k: number[]) => button(label, { class: "button" }, () => press(...k));
    const group = (name: string, ...buttons: HTMLElement[]) => el("div", { class: "chords", role: "group", "aria-label": name }, ...buttons);
    const twelve = Array.from({ length: 12 }, (_, i) => i + 1);
    this.body.append(
      group("Chords", chord("Ctrl+Alt+Del", sym.ctrl, sym.alt, sym.delete), chord("Alt+Tab", sym.alt, sym.tab), chord("Alt+F4", sym.alt, functionKey(4)),
        chord("Win", sym.win), chord("Ctrl+Esc", sym.ctrl, sym.escape), chord("PrintScreen", sym.print)),
      el("h3", {}, "Function keys"), group("Function keys", ...twelve.map((n) => chord(`F${n}`, functionKey(n)))),
      el("h3", {}, "Ctrl+Alt+"), group("Ctrl+Alt and a function key", ...twelve.map((n) => {
        const b = chord(`F${n}`, sym.ctrl, sym.alt, functionKey(n));
        b.setAttribute("aria-label", `Ctrl+Alt+F${n}`);
        return b;
      })));
  }
}
