import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { Keys } from "../src/terminal/keys";
import { look, Paste } from "../src/terminal/paste";
import { place, plain, titleOf, visible, webAddress } from "../src/viewer/text";

const all = (p, max) => {
  const out = [];
  for (let b = p.next(max); b.length > 0; b = p.next(max)) {
    assert.ok(b.length <= max, `${b.length} > ${max}`);
    out.push(b);
  }
  return Buffer.concat(out).toString();
};

test("a paste is the same in pieces of any size", () => {
  const text = "a\r\nb\nc\r" + "é€😀\u{1F469}‍x".repeat(50) + "\r\n\r\n";
  const want = text.replace(/\r?\n/g, "\r");
  for (const max of [4, 5, 6, 7, 11, 64, 16384]) {
    assert.equal(all(new Paste(text, false), max), want);
    assert.equal(all(new Paste(text, true), max), `\x1b[200~${want}\x1b[201~`);
  }
});

test("a text cannot close its brackets", () => {
  assert.equal(all(new Paste("x\x1b[201~rm\n\x9b201~", true), 64), "\x1b[200~x[201~rm\r201~\x1b[201~");
  assert.equal(all(new Paste("\x1b".repeat(1000), true), 16), "\x1b[200~\x1b[201~");
});

test("a large paste is exact", () => {
  const text = "0123456789abcdef\n".repeat(200_000);
  const h = createHash("sha256");
  const p = new Paste(text, false);
  for (let b = p.next(16384); b.length > 0; b = p.next(16384)) h.update(b);
  assert.equal(h.digest("hex"), createHash("sha256").update(text.replaceAll("\n", "\r")).digest("hex"));
  assert.equal(p.done, p.total);
});

test("a paste that is given up closes its brackets, if it opened them", () => {
  const p = new Paste("x".repeat(1000), true);
  p.end();
  assert.equal(p.next(100).length, 0);
  const q = new Paste("x".repeat(1000), true);
  q.next(6);
  q.next(30);
  q.end();
  assert.equal(Buffer.from(q.next(100)).toString(), "\x1b[201~");
  assert.equal(q.next(100).length, 0);
});

test("keys keep their order around a paste", () => {
  const k = new Keys();
  const type = (s) => k.type(new TextEncoder().encode(s));
  type("a");
  type("b");
  k.add(new Paste("PASTE", true));
  type("c");
  let out = "";
  while (!k.empty) out += Buffer.from(k.take(4)).toString();
  assert.equal(out, "ab\x1b[200~PASTE\x1b[201~c");
  assert.equal(k.bytes, 0);
});

test("what a person is told of a paste", () => {
  assert.deepEqual(look("one"), { lines: 1, enters: 0, controls: 0, preview: "one" });
  assert.deepEqual(look("one\r\ntwo\x1b\n"), { lines: 2, enters: 2, controls: 1, preview: "one\ntwo^[\n" });
  assert.equal(visible("a\u202eb\u007f"), "a<U+202E>b^?");
});

test("titles begin with the machine and hide nothing", () => {
  assert.equal(titleOf(place("ann", "web-01"), "root@db\u202e\u0007\n x"), "ann@web-01 — root@db x");
  assert.equal(plain("x".repeat(5000)).length, 80);
  assert.equal(plain("\ud800a\u200b"), "a");
});

test("only web addresses are links", () => {
  for (const s of ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "ssh://x", "x", "https://" + "a".repeat(3000)]) assert.equal(webAddress(s), undefined, s.slice(0, 40));
  assert.equal(webAddress("https://exаmple.com/x")?.host, "xn--exmple-4nf.com");
});
