import { sym } from "./keys";

/** Typist is told what was composed. */
export interface Typist {
  text(s: string): void;
  press(keysym: number): void;
}

const filled = "\u00a0"; // something to be deleted: without it no event comes

// What the input method itself has in its field; it is over with compositionend, whose data counts.
const composed = new Set(["insertCompositionText", "insertFromComposition", "deleteCompositionText", "deleteByComposition"]);

// Text of elsewhere, for which there is the clipboard, if the relay allows that.
const elsewhere = new Set(["insertFromPaste", "insertFromPasteAsQuotation", "insertFromDrop", "insertFromYank"]);

/**
 * Composer takes what a field gets without a key that says it: from input methods, dead keys, emoji pickers,
 * dictation and the keyboards of phones. It goes before the library's own listeners, which type the half
 * of a surrogate pair once more and forget plain input behind the first composition.
 *
 * A key may give its character and the field get it all the same, before or behind that: it is typed once.
 */
export class Composer {
  private keyed = ""; // what the key that is down gave
  private got = ""; // what the field got since that key went down
  private down = false; // a key is

  constructor(private readonly field: HTMLTextAreaElement, private readonly to: Typist) {
    const first = (type: string, f: (e: Event) => void, stops = true) => field.addEventListener(type, (e) => {
      if (stops) e.stopImmediatePropagation();
      f(e);
    }, true);
    first("keydown", () => this.key(true), false);
    first("keyup", () => (this.down = false), false); // the library tells the key behind this
    first("beforeinput", (e) => this.before(e as InputEvent));
    first("input", (e) => this.input(e as InputEvent));
    first("compositionstart", () => field.classList.add("composing"));
    first("compositionend", (e) => {
      field.classList.remove("composing");
      this.take((e as CompositionEvent).data);
      this.fill();
    });
    field.addEventListener("focus", () => this.fill());
  }

  /** typed says whether a character that a key gives came by the field already; else it is noted. */
  typed(char: string): boolean {
    if (this.got.startsWith(char)) {
      this.got = this.got.slice(char.length);
      return true;
    }
    this.keyed += char;
    return false;
  }

  private key(down: boolean): void {
    this.down = down;
    this.keyed = this.got = "";
  }

  private before(e: InputEvent): void {
    if (e.isComposing || composed.has(e.inputType)) return;
    const key = /^delete.*Forward$/.test(e.inputType) ? sym.delete : e.inputType.startsWith("delete") ? sym.backSpace
      : e.inputType === "insertLineBreak" || e.inputType === "insertParagraph" ? sym.enter : undefined;
    if (key === undefined && !elsewhere.has(e.inputType) && e.inputType.startsWith("insert")) return;
    e.preventDefault();
    if (key !== undefined) this.to.press(key);
  }

  private input(e: InputEvent): void {
    if (e.isComposing) return;
    if (!composed.has(e.inputType) && e.inputType.startsWith("insert") && !elsewhere.has(e.inputType)) {
      this.take(e.data ?? this.field.value.replace(filled, ""));
    }
    this.fill();
  }

  private take(text: string): void {
    if (this.down && this.keyed !== "" && text.startsWith(this.keyed)) {
      const rest = text.slice(this.keyed.length);
      this.keyed = "";
      if (rest !== "") this.to.text(rest);
      return;
    }
    if (this.down) this.got += text;
    if (text !== "") this.to.text(text);
  }

  private fill(): void {
    if (this.field.classList.contains("composing")) return;
    this.field.value = filled;
    this.field.setSelectionRange(1, 1);
  }
}
