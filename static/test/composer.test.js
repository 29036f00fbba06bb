import assert from "node:assert/strict";
import { test } from "node:test";
import { keysymsOf } from "../src/desktop/text";
import { Typewriter } from "../src/desktop/typewriter";
import { keyEvent } from "./layouts";

/** Field is a textarea that a page listens to; what a browser does with it, the test says. */
class Field extends EventTarget {
  value = "";
  classes = new Set();
  classList = { add: (c) => this.classes.add(c), remove: (c) => this.classes.delete(c), contains: (c) => this.classes.has(c) };
  setSelectionRange() {}
}

class World {
  field = new Field();
  sent = "";
  constructor() {
    globalThis.window = globalThis;
    Object.defineProperty(globalThis, "navigator", { value: { platform: "Linux x86_64" }, configurable: true });
    this.typewriter = new Typewriter(this.field, {
      key: (k, down) => {
        if (!down) return;
        this.sent += k < 0x100 ? String.fromCharCode(k) : k >= 0x01000000 ? String.fromCodePoint(k & 0xffffff) : `<${k.toString(16)}>`;
      },
      text: (s) => (this.sent += `[${s}]`),
    });
    this.field.dispatchEvent(new Event("focus"));
  }

  fire(type, o) {
    const e = Object.assign(new Event(type, { cancelable: true }), { isComposing: false, data: null, ...o });
    this.field.dispatchEvent(e);
    return !e.defaultPrevented;
  }

  /** key is a press; what comes between the keydown and its end is the test's. */
  key(key, keyCode, { press = true, between = () => {} } = {}) {
    this.field.dispatchEvent(keyEvent("keydown", { key, keyCode, code: "Key" }));
    if (press) this.field.dispatchEvent(keyEvent("keypress", { key, keyCode }));
    between();
    this.field.dispatchEvent(keyEvent("keyup", { key, keyCode, code: "Key" }));
  }

  /** input is text that the browser puts into the field, as it tells it. */
  input(inputType, data, isComposing = false) {
    if (!this.fire("beforeinput", { inputType, data, isComposing })) return false;
    this.field.value += data ?? "";
    this.fire("input", { inputType, data, isComposing });
    return true;
  }

  compose(...texts) {
    this.fire("compositionstart", { data: "" });
    for (const t of texts.slice(0, -1)) {
      this.fire("compositionupdate", { data: t });
      this.input("insertCompositionText", t, true);
    }
    return texts.at(-1);
  }

  get said() {
    const s = this.sent;
    this.sent = "";
    return s;
  }
}

test("what no key gave arrives once: pickers, dictation, corrections", () => {
  const w = new World();
  for (const kind of ["insertText", "insertFromDictation", "insertReplacementText", "insertTranspose"]) {
    assert(w.input(kind, "héllo 😀"));
    assert.equal(w.said, "[héllo 😀]", kind);
    assert.equal(w.field.value, "\u00a0", "the field is not as it was");
  }
  // Safari tells a correction without its text.
  w.field.value = "\u00a0better";
  w.fire("input", { inputType: "insertReplacementText" });
  assert.equal(w.said, "[better]");
});

test("compositions arrive when they are done, as each browser ends them", () => {
  const w = new World();
  const chromium = () => w.fire("compositionend", { data: w.compose("に", "にほ", "日本") });
  const firefox = () => {
    const data = w.compose("に", "日本");
    w.fire("compositionend", { data });
    w.fire("input", { inputType: "insertCompositionText", data });
  };
  const safari = () => {
    const data = w.compose("に", "日本");
    w.input("deleteCompositionText", null, true);
    w.input("insertFromComposition", data);
    w.fire("compositionend", { data });
  };
  for (const browser of [chromium, firefox, safari, chromium]) {
    browser();
    assert.equal(w.said, "[日本]");
    assert(w.input("insertText", "x"), "plain input behind a composition");
    assert.equal(w.said, "[x]");
  }
  w.fire("compositionend", { data: w.compose("に", "") });
  assert.equal(w.said, "", "a composition that was given up");
  assert(!w.field.classes.has("composing"));
});

test("keys of an input method are its own", () => {
  const w = new World();
  w.key("Process", 229, { press: false, between: () => w.compose("n", "") });
  w.fire("compositionend", { data: "の" });
  assert.equal(w.said, "[の]");
  w.field.dispatchEvent(keyEvent("keydown", { key: "Enter", keyCode: 13, isComposing: true }));
  assert.equal(w.said, "");
  w.key("Enter", 13, { press: false });
  assert.equal(w.said, "<ff0d>");
});

test("a key whose character comes twice is typed once", () => {
  const w = new World();
  const also = (data) => ({ between: () => w.input("insertText", data) });
  w.key("a", 65, also("a"));
  assert.equal(w.said, "a");
  w.key("a", 65, { press: false, ...also("a") }); // the key is told behind what it gave
  assert.equal(w.said, "[a]");
  for (let n = 0; n < 3; n++) w.key("l", 76, also("l"));
  assert.equal(w.said, "lll");
  w.key("a", 65);
  w.input("insertText", "apple"); // dictated, behind the key
  assert.equal(w.said, "a[apple]");
  w.key("é", 50, also("é"));
  assert.equal(w.said, "é");
  w.key("a", 65, also("ab")); // and a correction in one
  assert.equal(w.said, "a[b]");
});

test("dead keys: as a composition, as an insertion, and as a key", () => {
  const w = new World();
  w.key("Dead", 229, { press: false });
  w.fire("compositionend", { data: w.compose("^", "ê") });
  assert.equal(w.said, "[ê]");
  w.key("Dead", 221, { press: false });
  w.key("ê", 69);
  assert.equal(w.said, "ê");
  w.key("Dead", 229, { press: false });
  w.key("Unidentified", 229, { press: false, between: () => w.input("insertText", "ê") });
  assert.equal(w.said, "[ê]");
});

test("keyboards of phones: letters, Backspace, Enter", () => {
  const w = new World();
  const soft = (kind, data) => w.key("Unidentified", 229, { press: false, between: () => w.input(kind, data) });
  soft("insertText", "l");
  soft("insertText", "l");
  assert.equal(w.said, "[l][l]");
  for (let n = 0; n < 3; n++) soft("deleteContentBackward", null);
  assert.equal(w.said, "<ff08><ff08><ff08>");
  assert.equal(w.field.value, "\u00a0", "nothing is left to be deleted");
  soft("deleteWordBackward", null);
  soft("deleteContentForward", null);
  soft("insertLineBreak", null);
  soft("insertParagraph", null);
  assert.equal(w.said, "<ff08><ffff><ff0d><ff0d>");
  // In the middle of a word it is the word's.
  const data = w.compose("h", "he", "");
  w.input("deleteContentBackward", null, true);
  assert.equal(w.said, "");
  w.fire("compositionend", { data });
  assert.equal(w.said, "");
});

test("what is pasted or dropped is left to the clipboard, which has rules", () => {
  const w = new World();
  for (const kind of ["insertFromPaste", "insertFromDrop", "insertFromYank", "historyUndo", "formatBold"]) assert.equal(w.input(kind, "secret"), false, kind);
  w.fire("input", { inputType: "insertFromPaste", data: "secret" });
  assert.equal(w.said, "");
});

test("a picker that a shortcut opened leaves no modifier behind", () => {
  const w = new World();
  w.field.dispatchEvent(keyEvent("keydown", { key: "Control", code: "ControlLeft", keyCode: 17, location: 1, ctrlKey: true }));
  assert.equal(w.said, "<ffe3>");
  w.input("insertText", "😀");
  assert.equal(w.said, "[😀]");
  w.field.dispatchEvent(keyEvent("keydown", { key: "Control", code: "ControlLeft", keyCode: 17, location: 1, ctrlKey: true }));
  assert.equal(w.said, "<ffe3>", "it was still held");
});

test("texts are typed character by character, as VNC and RDP have them", () => {
  const hex = (text, halves) => keysymsOf(text, halves).map((k) => k.toString(16)).join(" ");
  assert.equal(hex("aé€", false), "61 e9 10020ac");
  assert.equal(hex("😀", false), "101f600");
  assert.equal(hex("😀", true), "100d83d 100de00");
  assert.equal(hex("👩‍💻", false), "101f469 100200d 101f4bb");
  assert.equal(hex("👩‍💻", true), "100d83d 100dc69 100200d 100d83d 100dcbb");
  assert.equal(hex("❤️", true), "1002764 100fe0f");
  assert.equal(hex("a\r\nb\nc\rd\te", true), "61 ff0d 62 ff0d 63 ff0d 64 ff09 65");
  assert.equal(hex("\u0000\u001b\u007f\u0085\ud83d", false), "");
});
