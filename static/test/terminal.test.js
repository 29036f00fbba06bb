import assert from "node:assert/strict";
import { test } from "node:test";
import headless from "@xterm/headless";
import { guard } from "../src/terminal/guard";
import { Whole } from "../src/terminal/whole";

const terminal = () => new headless.Terminal({ cols: 40, rows: 4, allowProposedApi: true });
const shown = (t) => t.buffer.active.getLine(t.buffer.active.baseY)?.translateToString(true);
const write = (t, b) => new Promise((done) => t.write(b, done));

test("a character that comes in pieces is shown", async () => {
  const text = "a\u2013b \u0440 \u65e5\u672c \u{1f600} \u{1f000}.";
  const bytes = new TextEncoder().encode(text);
  for (let cut = 0; cut <= bytes.length; cut++) {
    for (let second = cut; second <= bytes.length; second++) {
      const t = terminal();
      const whole = new Whole();
      for (const piece of [bytes.subarray(0, cut), bytes.subarray(cut, second), bytes.subarray(second)]) await write(t, whole.take(piece));
      assert.equal(shown(t), text, `cut at ${cut} and ${second}`);
      t.dispose();
    }
  }
});

test("bytes that are no UTF-8 are not held back, and none is lost", () => {
  for (const hex of ["ff", "80", "808080", "c3", "e282", "f09f98", "f0808080", "61ff62", "e28241", "c0"]) {
    const bytes = Uint8Array.from(Buffer.from(hex, "hex"));
    const whole = new Whole();
    const out = [];
    for (const b of bytes) out.push(...whole.take(Uint8Array.of(b)));
    out.push(...whole.take(Uint8Array.of(0x21)));
    assert.equal(Buffer.from(out).toString("hex"), hex + "21");
  }
});

test("no count of a host's keeps the page busy", async () => {
  for (const seq of ["@", "I", "L", "M", "P", "S", "T", "X", "Z", "b", " @", " A", "'}", "'~"]) {
    const t = terminal();
    guard(t);
    await write(t, `x\x1b[2147483647${seq}\x1b[1;1Hgoes on`);
    assert.equal(shown(t), "goes on", seq);
    t.dispose();
  }
});
