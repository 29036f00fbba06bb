import assert from "node:assert/strict";
import { test } from "node:test";
import { readFileSync } from "node:fs";
import { Keys, sym } from "../src/desktop/keys";
import { layoutFor, layouts } from "../src/desktop/layouts";
import { address, wanted } from "../src/desktop/spec";
import { offers } from "../src/app/offers";

test("layouts are those of the relay", () => {
  const go = readFileSync("../relay/guac/keyboard.go", "utf8"); // the tests run in static/
  assert.deepEqual(layouts.map(([n]) => n).sort(), [...go.matchAll(/^\t\t"([a-z-]+)",/gm)].map((m) => m[1]).sort());
});

test("the layout is guessed by languages and keys", () => {
  const qwertz = new Map([["KeyQ", "q"], ["KeyY", "z"]]);
  const azerty = new Map([["KeyQ", "a"], ["KeyY", "y"]]);
  const qwerty = new Map([["KeyQ", "q"], ["KeyY", "y"]]);
  for (const [languages, keys, want] of [
    [["en-US"], undefined, "en-us-qwerty"], [["en-GB", "en"], undefined, "en-gb-qwerty"], [["de"], undefined, "de-de-qwertz"], [["de-CH"], qwertz, "de-ch-qwertz"],
    [["en-US", "de-DE"], qwertz, "de-de-qwertz"], [["de-DE", "en-US"], qwerty, "en-us-qwerty"], [["fr-BE"], azerty, "fr-be-azerty"], [["fr-CH"], undefined, "fr-ch-qwertz"],
    [["en-US"], azerty, "fr-fr-azerty"], [["es-MX"], undefined, "es-latam-qwerty"], [["es"], undefined, "es-es-qwerty"], [["nb-NO"], undefined, "no-no-qwerty"],
    [["xx"], undefined, "en-us-qwerty"], [[], qwertz, "de-de-qwertz"], [["pt-BR"], qwerty, "pt-br-qwerty"], [["ja"], undefined, "ja-jp-qwerty"],
  ]) assert.equal(layoutFor(languages, keys), want, languages.join());
});

test("a modifier on the screen holds for the next key", () => {
  const sent = [];
  const k = new Keys((keysym, down) => sent.push(`${down ? "+" : "-"}${keysym.toString(16)}`), () => {});
  k.stick(sym.ctrl);
  k.stick(sym.alt);
  k.press(sym.delete);
  assert.deepEqual(sent.splice(0), ["+ffe3", "+ffe9", "+ffff", "-ffff", "-ffe9", "-ffe3"]);
  assert.equal(k.stuck.size, 0);
  k.stick(sym.ctrl);
  k.stick(sym.ctrl);
  k.press(97);
  assert.deepEqual(sent.splice(0), ["+61", "-61"]);
  k.stick(sym.win);
  k.down(97); // the connection is lost, or the page
  k.release();
  assert.deepEqual(sent.splice(0), ["+ffeb", "+61", "-ffeb"]);
  k.chord(sym.ctrl, sym.alt, sym.delete);
  assert.deepEqual(sent, ["+ffe3", "+ffe9", "+ffff", "-ffff", "-ffe9", "-ffe3"]);
});

test("addresses lead back to what is shown", () => {
  for (const a of ["/scrier/e1?protocol=rdp", "/scrier/e1?protocol=vnc&port=5901", "/scrier/e1?protocol=vnc&console=1&session=s", "/scrier/e1?protocol=rdp&session=s&watch=1"]) {
    const u = new URL(a, "https://x");
    assert.equal(address(wanted(u)), a);
  }
  const no = (a) => wanted(new URL(a, "https://x"));
  assert.equal(no("/scrier/e1?protocol=ssh"), undefined);
  assert.equal(no("/scrier/?protocol=rdp"), undefined);
  assert.equal(no("/scrier/%ff?protocol=rdp"), undefined);
  assert.deepEqual(no("/scrier/e?protocol=rdp&console=1&port=99999&watch=1"), { envoy: "e", kind: "rdp", port: undefined, console: false, session: undefined, watch: false });
});

test("a machine offers what it and the relay can do", () => {
  const e = (facts) => ({ id: "e", facts: { ssh: true, rdp: false, vnc: false, console: "", ...facts } });
  const all = ["ssh", "rdp", "vnc"];
  const words = (list) => list.map((o) => o.word).join();
  assert.equal(words(offers(e({}), all)), "Shell,Files");
  assert.equal(words(offers(e({ rdp: true, vnc: true, console: "ann" }), all)), "Shell,Files,RDP,VNC,Screen");
  assert.equal(words(offers(e({ rdp: true, vnc: true, console: "ann" }), ["ssh"])), "Shell,Files");
  assert.equal(words(offers(e({ ssh: false }), all)), "Shell,Files");
  assert.equal(words(offers(e({ ssh: false, rdp: true, vnc: true }), all)), "RDP,VNC,Shell,Files"); // the usual one first
  assert.equal(offers(e({}), all)[1].path, "/scrier/e?protocol=ssh&view=files");
  assert.equal(offers(e({ console: "ann" }), all).at(-1).path, "/scrier/e?protocol=vnc&console=1");
});
