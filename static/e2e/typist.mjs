// Somebody who types what no key of the browser's driver gives: AltGr and Option, input methods, emoji
// pickers.
import { same } from "./story.mjs";

/** computer makes pages believe that they are on this platform. */
export function computer(context, platform) {
  return context.addInitScript((p) => Object.defineProperty(navigator, "platform", { get: () => p }), platform);
}

export class Typist {
  static async of(page) {
    const t = new Typist();
    t.page = page;
    t.client = await page.context().newCDPSession(page);
    return t;
  }

  /** stroke presses one key: its place, what it types (nothing: a shortcut), and the modifiers (1 Alt, 2 Ctrl, 8 Shift). */
  async stroke(code, key, modifiers = 0, types = true) {
    const e = { code, key, modifiers, windowsVirtualKeyCode: code.startsWith("Digit") || code.startsWith("Key") ? code.at(-1).charCodeAt(0) : 222 };
    await this.client.send("Input.dispatchKeyEvent", { type: types ? "keyDown" : "rawKeyDown", ...e, ...(types ? { text: key, unmodifiedText: key } : {}) });
    await this.client.send("Input.dispatchKeyEvent", { type: "keyUp", ...e });
  }

  /** hold presses or lets go of a modifier. */
  async hold(code, key, modifiers, down) {
    const windowsVirtualKeyCode = { Alt: 18, Control: 17, Shift: 16, AltGraph: 18 }[key];
    await this.client.send("Input.dispatchKeyEvent", { type: down ? "rawKeyDown" : "keyUp", code, key, modifiers, windowsVirtualKeyCode });
  }

  /** option types characters as a Mac does: with Option down, which is told as Alt. */
  async option(...strokes) {
    await this.hold("AltLeft", "Alt", 1, true);
    for (const [code, key] of strokes) await this.stroke(code, key, 1);
    await this.hold("AltLeft", "Alt", 0, false);
  }

  /** insert is a picker, dictation, or the keyboard of a phone. */
  async insert(text) {
    await this.client.send("Input.insertText", { text });
  }

  /** compose is an input method: what it shows meanwhile, and what becomes of it. */
  async compose(meanwhile, text) {
    for (const m of meanwhile) {
      await this.client.send("Input.imeSetComposition", { text: m, selectionStart: m.length, selectionEnd: m.length });
      await this.breath();
    }
    if (text === "") await this.client.send("Input.imeSetComposition", { text: "", selectionStart: 0, selectionEnd: 0 });
    else await this.insert(text);
    await this.breath();
  }

  // breath lets the page have its turn, as everybody does: terminals look at their field a moment later.
  breath() {
    return this.page.evaluate(() => new Promise((done) => setTimeout(() => setTimeout(done))));
  }

  /** all types in every way, and wants the far side to have read it. read begins to listen there, and gives what came. */
  async all(read, { wide }) {
    const heard = async (what, want, type) => same(await read(type), want, what);
    await heard("a composition", wide ? "日本語" : "grüße", () => this.compose(wide ? ["に", "にほ", "にほんご"] : ["g", "gr"], wide ? "日本語" : "grüße"));
    await heard("plain input behind it", "ö!", () => this.insert("ö!"));
    await heard("a dead key", "ü", () => this.compose(["¨"], "ü"));
    await heard("a composition that was given up", "x", async () => {
      await this.compose(["a", "ab"], "");
      await this.insert("x");
    });
    if (wide) await heard("emoji", "😀👩‍💻❤️", () => this.insert("😀👩‍💻❤️"));
    await heard("keys and insertions in turn", "aäbäc", async () => {
      await this.stroke("KeyA", "a");
      await this.insert("ä");
      await this.stroke("KeyB", "b");
      await this.compose(["¨"], "ä");
      await this.stroke("KeyC", "c");
    });
  }
}
