import assert from "node:assert/strict";
import { test } from "node:test";
import { read } from "../src/api/read";
import { warnings } from "../src/app/envoy";
import { system } from "../src/app/system";
import { fit } from "../src/ui/fit";
import { count } from "../src/ui/format";
import { longest } from "../src/ui/measure";

const gap = 16;
const spent = (w) => w.filter(Boolean).reduce((sum, x) => sum + x + gap, -gap);

test("columns that all fit are whole, and what is left goes to the one that takes it", () => {
  const needs = [{ whole: 80, least: 80, rank: 0 }, { whole: 200, least: 96, rank: 0, first: true }, { whole: 150, least: 90, rank: 4, grows: true }, { whole: 100, least: 100, rank: 0 }];
  assert.deepEqual(fit(needs, 1000, gap), [80, 200, 1000 - 3 * gap - 380, 100]);
});

test("nothing is cut while another column has more than it needs", () => {
  const needs = [{ whole: 80, least: 80, rank: 0 }, { whole: 360, least: 96, rank: 0, first: true }, { whole: 700, least: 90, rank: 4, grows: true }, { whole: 300, least: 120, rank: 5 }, { whole: 90, least: 90, rank: 9 }];
  for (let room = 120; room < 2200; room += 7) {
    const w = fit(needs, room, gap);
    const cut = needs.some((n, i) => w[i] > 0 && w[i] < n.whole - 0.5);
    const spare = needs.some((n, i) => w[i] > n.whole + 0.5);
    assert.ok(!(cut && spare), `${room}: ${w}`);
    if (cut && w[1] < 359.5) assert.ok(needs.every((n, i) => i === 1 || w[i] <= Math.min(n.least, n.whole) + 0.5), `${room}: others got room before the first was whole: ${w}`);
    if (w[0] && w[1]) assert.ok(spent(w) <= Math.max(room, 80 + 96 + gap) + 1, `${room}: ${w} are ${spent(w)}`);
    assert.ok(w[0] && w[1], `${room}: ${w}`);
  }
});

test("who is needed least goes first, and an empty column is none", () => {
  const needs = [{ whole: 100, least: 100, rank: 0 }, { whole: 100, least: 100, rank: 2 }, { whole: 100, least: 100, rank: 7 }, { whole: 0, least: 50, rank: 1 }];
  assert.deepEqual(fit(needs, 400, gap).map((w) => w > 0), [true, true, true, false]);
  assert.deepEqual(fit(needs, 300, gap).map((w) => w > 0), [true, true, false, false]);
  assert.deepEqual(fit(needs, 150, gap).map((w) => w > 0), [true, false, false, false]);
  assert.deepEqual(fit(needs, 20, gap).map((w) => w > 0), [true, false, false, false]);
});

test("the longest texts are found among many, wide characters too", () => {
  const texts = Array.from({ length: 10_000 }, (_, i) => `web-${i}`);
  texts[5000] = "a-very-long-hostname.example.com";
  texts[9999] = "日本語日本語日本語日本語";
  const found = longest(texts);
  assert.ok(found.includes("a-very-long-hostname.example.com") && found.includes("日本語日本語日本語日本語") && found.length <= 8, found.join());
});

test("systems have the names that people use", () => {
  for (const [os, want] of [
    ["Debian GNU/Linux 12 (bookworm)", "Debian 12"], ["Amazon Linux 2023", "Amazon Linux 2023"], ["Amazon Linux 2023.6.20250107", "Amazon Linux 2023"], ["Ubuntu 24.04.1 LTS", "Ubuntu 24.04.1"], ["Red Hat Enterprise Linux 9.4 (Plow)", "RHEL 9.4"],
    ["Arch Linux", "Arch Linux"], ["Alpine Linux v3.20", "Alpine Linux v3.20"], ["SUSE Linux Enterprise Server 15 SP5", "SLES 15 SP5"], ["Kali GNU/Linux Rolling", "Kali Rolling"], ["", ""],
  ]) assert.equal(system(os), want);
});

test("a warning is a word in a row, and a sentence elsewhere", () => {
  const e = (...w) => ({ facts: { disk: 97 }, warnings: w });
  const words = (...w) => warnings(e(...w)).map((x) => x.word);
  assert.deepEqual(words("its root file system is 97% full", "its clock is 7m behind", "its SSH server did not answer the agent", "last seen 2h ago"), ["Disk\u00a097\u00a0%", "Clock", "SSH"]);
  assert.deepEqual(words("another machine, at 192.0.2.1, tried to connect with its identity"), ["Identity"]);
  assert.equal(words(`something new ${"x".repeat(200)}\u202e`)[0].length, 24);
  assert.deepEqual(warnings({ facts: {}, warnings: null }), []);
});

test("one is one", () => {
  assert.deepEqual([count(1, "record"), count(0, "record"), count(2, "passkey")], ["1 record", "0 records", "2 passkeys"]);
});

test("marks that turn text are seen, and do nothing", () => {
  const v = { hostname: "web\u202egnp.exe", labels: { "a\u2066": "b\u200f" }, keys: ["x\u061c"], n: 1, none: null };
  const want = { hostname: "web\ufffdgnp.exe", labels: { "a\ufffd": "b\ufffd" }, keys: ["x\ufffd"], n: 1, none: null };
  assert.deepEqual(read(JSON.stringify(v)), want);
  assert.deepEqual(read(JSON.stringify(v).replace(/[\u0600-\uffff]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`)), want);
  assert.deepEqual(read(String.raw`{"a":"\u202e\u202e","b":"\\u202e"}`), { a: "\ufffd\ufffd", b: "\\u202e" });
  assert.deepEqual(read('{"a":"grüße 日本"}'), { a: "grüße 日本" });
});
