import assert from "node:assert/strict";
import { test } from "node:test";
import { Hold } from "../src/files/hold";
import { hidden, rowOf, sorted, Typed } from "../src/files/rows";
import { address, wanted } from "../src/files/spec";
import { attached, data, FakeClock, message, Pipe, settle } from "./fake";

const ticket = Buffer.alloc(32, 9).toString("base64url");

/** World is a hold, and the relay as the test plays it. */
class World {
  clock = new FakeClock();
  pipes = [];
  seen = [];
  constructor() {
    this.link = new Hold(
      {
        attach: () => Promise.resolve({ ticket }),
        dial: () => Promise.resolve(this.pipes[this.pipes.push(new Pipe()) - 1]),
        lost: () => {},
        ending: () => Promise.resolve({ code: 83, detail: "gone" }),
      },
      { changed: () => {}, attached: (a) => this.seen.push(a.rights.join()), notice: (t) => this.seen.push(t), heard: (m) => this.seen.push(m.type) },
      this.clock,
    );
    this.done = this.link.run();
  }

  get pipe() {
    return this.pipes.at(-1);
  }

  async push(...frames) {
    await settle();
    this.pipe.push(...frames);
    await settle();
  }
}

test("a session that is held: nothing but a ticket goes, it pings, and comes back", async () => {
  const w = new World();
  await w.push(attached({ rights: ["download"] }));
  assert.equal(w.link.state.name, "attached");
  const [first] = w.pipe.got;
  assert.equal(first[0], 0x27);
  assert.equal(Buffer.from(first[1].get(1)).toString("base64url"), ticket);
  assert.deepEqual([first[1].get(8), first[1].has(9)], [true, false], "it answers, and takes the session over");
  const client = first[1].get(4);
  await w.clock.pass(2500);
  assert(w.pipe.got.slice(1).every(([t]) => t === 0x08 || t < 0x20), `it sent ${w.pipe.got.map(([t]) => t.toString(16))}`);
  w.pipe.close();
  await settle();
  await w.clock.pass(1);
  await w.push(attached({ rights: ["download"] }));
  assert.equal(w.pipes.length, 2);
  assert.deepEqual([w.pipe.got[0][1].get(4), w.pipe.got[0][1].get(9)], [client, true], "it is the same, and leaves to others what they took");
  assert.deepEqual(w.seen, ["download", "download"]);
  w.link.close();
  await w.done;
});

test("a session that is held: questions before it is open, notices, and its end", async () => {
  const w = new World();
  await w.push(message(0x2c, [[1, "web1"], [2, "ann"], [3, "hello"]]), message(0x2d, [[1, 1], [2, "web1"], [3, "ann"], [4, ""], [5, [new Map([[1, "Code: "], [2, false]])]], [6, false], [7, false]]));
  w.link.answer(1, [new TextEncoder().encode("123")]);
  assert.deepEqual(w.pipe.of(0x2e).map((m) => [m.get(1), Buffer.from(m.get(2)[0]).toString()]), [[1, "123"]]);
  await w.push(attached());
  await w.push(message(0x25, [[1, 0], [2, "the relay restarts"]]));
  await w.push(message(0x26, [[1, 112], [2, ""], [3, 0], [4, ""]]));
  assert.deepEqual(w.seen, ["said", "ask", "", "the relay restarts"]);
  assert.deepEqual([w.link.state.name, w.link.state.exit.code], ["ended", 112]);
  await w.done;
});

test("a terminal is no session for files: its bytes are not for this page", async () => {
  const w = new World();
  await w.push(attached(), data("$ "));
  assert.equal(w.link.state.name, "stopped");
  assert.match(w.link.state.problem.detail, /is a terminal/);
  w.link.close();
  await w.done;
});

test("the page's address, both ways", () => {
  const at = (s) => wanted(new URL(s, "https://relay.example"));
  const s = at("/scrier/web%201?protocol=ssh&view=files&login=ann&path=/a%20b/../c");
  assert.deepEqual([s.envoy, s.login, s.session, s.path.text], ["web 1", "ann", undefined, "/a b/../c"]);
  assert.equal(address(s), "/scrier/web%201?protocol=ssh&view=files&login=ann&path=%2Fa+b%2F..%2Fc");
  assert.equal(at("/scrier/x?path=relative").path, undefined);
  for (const bad of ["/", "/scrier/", "/scrier/%zz", "/scrier/a/b"]) assert.equal(at(bad), undefined, bad);
  s.path = s.path.join({ text: "\ufffd", raw: "_w" });
  assert(!address(s).includes("path="), "a path that no address can hold");
});

const row = (name, o = {}) => rowOf({ name, kind: "file", size: 1, mode: "0644", modified: "2026-01-01T00:00:00Z", ...o });
const names = (rows) => rows.map((r) => r.entry.name).join();

test("folders come first, in each order, and names as people count", () => {
  const rows = [row("f10", { size: 5, modified: "2026-03-01T00:00:00Z" }), row("F9", { size: 50, modified: "2026-01-01T00:00:00Z" }), row("zz", { kind: "dir" }), row("aa", { kind: "link", to: "dir", size: 9 }), row(".x", { size: 7, modified: "nonsense" })];
  assert.equal(names(sorted(rows, "name", false)), "aa,zz,.x,F9,f10");
  assert.equal(names(sorted(rows, "name", true)), "zz,aa,f10,F9,.x");
  assert.equal(names(sorted(rows, "size", true)).slice(6), "F9,.x,f10");
  assert.equal(names(sorted(rows, "modified", false)).slice(6), ".x,F9,f10");
  assert.deepEqual(rows.map(hidden), [false, false, false, false, true]);
  assert.deepEqual(rows.map((r) => r.folder), [false, false, true, true, false]);
  assert.notEqual(row("a\ufffd", { raw: "Yf8=" }).key, row("a\ufffd").key);
});

test("typing ahead", () => {
  const rows = ["alpha", "beta", "Bravo", "brick", "_x y"].map((n) => row(n));
  const t = new Typed();
  const type = (keys, from, at) => [...keys].reduce((i, k, n) => t.find(k, rows, i, at + n), from);
  assert.equal(type("b", 0, 0), 1);
  assert.equal(type("b", 1, 10_000), 2); // one letter: the next
  assert.equal(type("bri", 2, 20_000), 3);
  assert.equal(type("bb", 0, 30_000), 2); // the same letter again
  assert.equal(type("q", 0, 40_000), -1);
  assert.equal(type("_x y", 0, 50_000), 4);
  assert(t.under(50_100) && !t.under(60_000));
  assert.equal(new Typed().find("a", [], -1, 0), -1);
});
