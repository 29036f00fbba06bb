import assert from "node:assert/strict";
import { test } from "node:test";
import { Keyboard } from "@glokon/guacamole-common-js";
import { wayOut } from "../src/desktop/keys";
import { deed } from "../src/terminal/shortcut";
import { types } from "../src/ui/typing";
import { keyEvent, layouts, platforms, strokes } from "./layouts";

const all = Object.keys(platforms).flatMap((platform) => Object.keys(layouts).map((layout) => [platform, layout]));

test("no key of the terminal page takes what a layout types", () => {
  let n = 0;
  for (const [platform, layout] of all) {
    for (const { press } of strokes(layout, platform)) {
      const e = keyEvent("keydown", press);
      assert.equal(types(e, platforms[platform].mac), true, `${platform} ${layout} ${press.code}: no character`);
      assert.equal(deed(e, platforms[platform].mac), undefined, `${platform} ${layout}: ${press.key} at ${press.code}`);
      n++;
    }
  }
  assert(n > 300, `${n} keys`);
});

test("what is typed with no modifier, or Shift, is nobody's either", () => {
  for (const onMac of [true, false]) {
    for (const key of ["1", "t", "é", "T", "Dead", "😀"]) for (const shiftKey of [true, false]) assert.equal(deed(keyEvent("keydown", { key, code: "Digit1", shiftKey }), onMac), undefined);
  }
});

test("the page's own keys are there on every layout", () => {
  const own = (press, onMac) => deed(keyEvent("keydown", press), onMac);
  for (const [name, { plain }] of Object.entries(layouts)) {
    [...plain].forEach((key, i) => {
      const code = `Digit${(i + 1) % 10}`;
      const want = i === 9 ? "toolbar" : i + 1;
      assert.equal(own({ key, code, altKey: true }, false), want, `${name} Alt+${key}`);
      assert.equal(own({ key, code, altKey: true, ctrlKey: true }, true), want, `${name} Ctrl+Option+${key}`);
    });
  }
  for (const [press, onMac, want] of [
    [{ key: "t", code: "KeyT", altKey: true }, false, "another"], [{ key: "t", code: "KeyT", altKey: true, ctrlKey: true }, true, "another"],
    [{ key: "C", code: "KeyC", ctrlKey: true, shiftKey: true }, false, "copy"], [{ key: "F", code: "KeyF", ctrlKey: true, shiftKey: true }, true, "find"],
    [{ key: "V", code: "KeyV", ctrlKey: true, shiftKey: true }, false, "paste"], [{ key: "Insert", code: "Insert", shiftKey: true }, false, "paste"],
    [{ key: "c", code: "KeyC", ctrlKey: true }, false, undefined], [{ key: "1", code: "Digit1", altKey: true, metaKey: true }, true, undefined],
    [{ key: "1", code: "Digit1", altKey: true, shiftKey: true }, false, undefined], [{ key: "Process", code: "Digit1", altKey: true, keyCode: 229 }, false, undefined],
  ]) assert.equal(own(press, onMac), want, JSON.stringify(press));
});

test("the way out of the desktop is not found by typing", () => {
  let left = 0;
  for (const [platform, layout] of all) {
    const target = new EventTarget();
    wayOut(target, () => left++);
    const shift = { key: "Shift", code: "ShiftLeft", keyCode: 16, location: 1, shiftKey: true };
    for (const { events, press } of strokes(layout, platform)) {
      for (const e of events) target.dispatchEvent(e);
      // The next character with Shift, and the modifiers stay down.
      const { held, flags } = platforms[platform];
      for (const m of held) target.dispatchEvent(keyEvent("keydown", m));
      target.dispatchEvent(keyEvent("keydown", press));
      target.dispatchEvent(keyEvent("keydown", { ...flags, ...shift }));
      target.dispatchEvent(keyEvent("keydown", { ...flags, ...shift })); // repeated
      target.dispatchEvent(keyEvent("keyup", press));
      target.dispatchEvent(keyEvent("keyup", shift));
      for (const m of held) target.dispatchEvent(keyEvent("keyup", m));
      assert.equal(left, 0, `${platform} ${layout} ${press.code}`);
    }
  }
});

test("the way out is Ctrl, Alt and Shift in any order, and nothing else", () => {
  const mods = { ctrlKey: { key: "Control", code: "ControlLeft" }, altKey: { key: "Alt", code: "AltLeft" }, shiftKey: { key: "Shift", code: "ShiftLeft" } };
  const orders = [["ctrlKey", "altKey", "shiftKey"], ["shiftKey", "ctrlKey", "altKey"], ["altKey", "shiftKey", "ctrlKey"]];
  for (const order of orders) {
    for (const [between, want] of [[undefined, 1], [{ key: "a", code: "KeyA" }, 0]]) {
      let left = 0;
      const target = new EventTarget();
      wayOut(target, () => left++);
      const flags = {};
      for (const m of order) {
        flags[m] = true;
        target.dispatchEvent(keyEvent("keydown", { ...flags, ...mods[m] }));
      }
      if (between) target.dispatchEvent(keyEvent("keydown", { ...flags, ...between }));
      for (const m of order) {
        delete flags[m];
        target.dispatchEvent(keyEvent("keyup", { ...flags, ...mods[m] }));
      }
      assert.equal(left, want, `${order} ${between?.key}`);
    }
  }
});

// The library's keyboard, as the desktop page has it.
const ctrlOrAlt = [0xffe3, 0xffe4, 0xffe9, 0xffea];
const keysymOf = (char) => (char.codePointAt(0) <= 0xff ? char.codePointAt(0) : 0x01000000 | char.codePointAt(0));

test("the desktop gets the character, once, and no Ctrl or Alt with it", () => {
  globalThis.window = globalThis;
  for (const [platform, layout] of all) {
    Object.defineProperty(globalThis, "navigator", { value: { platform: platforms[platform].navigator }, configurable: true });
    const target = new EventTarget();
    const keyboard = new Keyboard(target);
    const down = new Set();
    let got = [];
    keyboard.onkeydown = (k) => {
      down.add(k);
      if (k < 0xf000 || k > 0xffff) got.push([k, [...down].filter((m) => ctrlOrAlt.includes(m))]);
      return false;
    };
    keyboard.onkeyup = (k) => down.delete(k);
    for (const { events, char, press } of strokes(layout, platform)) {
      got = [];
      for (const e of events) target.dispatchEvent(e);
      assert.deepEqual(got, char === undefined ? [] : [[keysymOf(char), []]], `${platform} ${layout} ${press.code} ${char}`);
      assert.deepEqual([...down], [], `${platform} ${layout} ${press.code}: keys stay down`);
    }
  }
});
