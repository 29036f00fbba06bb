import assert from "node:assert/strict";
import { test } from "node:test";
import { Parser } from "@glokon/guacamole-common-js";
import { DesktopLink } from "../src/desktop/link";
import { attached, data, FakeClock, message, Pipe, settle } from "./fake";

const ticket = Buffer.alloc(32, 9).toString("base64url");
const all = new Map([[1, true], [2, true], [3, true], [4, true], [5, true]]);
const ack = (n) => message(0x28, [[1, n]]);
const exit = (code) => message(0x26, [[1, code], [2, ""], [3, 0], [4, ""]]);
const one = (...e) => Parser.toInstruction(e);

/** World is a link to a desktop, whose frames and breaths come when the test says. */
class World {
  clock = new FakeClock();
  pipes = [];
  frames = [];
  breaths = [];
  seen = []; // instructions, as lists
  tunnels = [];
  each = undefined; // called with each instruction
  constructor() {
    this.link = new DesktopLink(
      {
        attach: () => (this.attachError ? Promise.reject(this.attachError) : Promise.resolve({ ticket })),
        dial: () => {
          const p = new Pipe();
          p.backlog = 0;
          this.pipes.push(p);
          return Promise.resolve(p);
        },
        lost: () => {},
        ending: () => Promise.resolve({ code: 83, detail: "gone" }),
      },
      {
        changed: () => {},
        notice: () => {},
        attached: (_, t) => {
          this.tunnels.push(t);
          t.oninstruction = (opcode, args) => {
            this.seen.push([opcode, ...args]);
            this.each?.(opcode);
          };
          t.connect("");
        },
      },
      this.clock,
      { frame: (f) => this.frames.push(f), breath: () => new Promise((done) => this.breaths.push(done)) },
    );
    this.done = this.link.run();
  }

  get pipe() {
    return this.pipes.at(-1);
  }

  get tunnel() {
    return this.tunnels.at(-1);
  }

  get state() {
    return this.link.state.name;
  }

  /** sent is what the page sent, as instructions. */
  get sent() {
    const out = [];
    const p = new Parser();
    p.oninstruction = (o, a) => out.push([o, ...a].join(" "));
    if (this.pipe.typed !== "") p.receive(this.pipe.typed);
    return out;
  }

  async attach(o = {}) {
    await settle();
    this.pipe.push(attached({ kind: "vnc", desktop: all, ...o }));
    await settle();
  }

  async push(...frames) {
    this.pipe.push(...frames);
    await settle();
  }

  async frame() {
    for (const f of this.frames.splice(0)) f();
    await settle();
  }

  async breath() {
    for (const f of this.breaths.splice(0)) f();
    await settle();
  }

  async close() {
    this.link.close();
    await this.done;
  }
}

test("instructions come whole, however their bytes are cut", async () => {
  const w = new World();
  await w.attach();
  const text = one("name", "a 😀 ü, b;") + one("size", 0, 10, 20) + one("sync", "1");
  for (const b of Buffer.from(text)) await w.push(data(Uint8Array.of(b)));
  for (let i = 0; i < text.length; i++) await w.breath();
  assert.deepEqual(w.seen, [["name", "a 😀 ü, b;"], ["size", "0", "10", "20"], ["sync", "1"]]);
  await w.close();
});

test("what was taken in is acknowledged: at once after 64 KiB, soon otherwise", async () => {
  const w = new World();
  await w.attach();
  const nop = one("nop");
  await w.push(data(nop));
  assert.deepEqual(w.pipe.of(0x28), []);
  await w.clock.pass(50);
  assert.deepEqual(w.pipe.of(0x28).map((m) => m.get(1)), [nop.length]);
  const blob = one("blob", "0", "x".repeat(30_000));
  await w.breath();
  await w.push(data(blob), data(blob), data(blob));
  await w.breath();
  await w.breath();
  assert.equal(w.pipe.of(0x28).length, 2);
  assert.ok(w.pipe.of(0x28)[1].get(1) >= 64 << 10);
  await w.clock.pass(50);
  assert.equal(w.pipe.of(0x28).at(-1).get(1), nop.length + 3 * blob.length);
  await w.close();
});

test("a flood is taken in slices, and input goes out between them", async () => {
  const w = new World();
  await w.attach();
  w.each = () => (w.clock.t += 3); // each picture costs
  const picture = one("blob", "0", "x".repeat(8000));
  for (let i = 0; i < 20; i++) w.pipe.push(data(picture));
  await settle();
  assert.ok(w.seen.length >= 1 && w.seen.length <= 4, `${w.seen.length} in a slice`);
  w.tunnel.sendMessage("key", 65, 1);
  assert.deepEqual(w.sent, ["key 65 1"]);
  let slices = 1;
  while (w.seen.length < 20 && slices < 40) {
    const before = w.seen.length;
    await w.breath();
    assert.ok(w.seen.length - before <= 4, `${w.seen.length - before} in a slice`);
    slices++;
  }
  assert.ok(slices >= 6 && w.seen.length === 20, `${slices} slices, ${w.seen.length} pictures`);
  await w.close();
});

test("frames that come without a pause are not taken in without one", async () => {
  const w = new World();
  await w.attach();
  for (let i = 0; i < 5; i++) await w.push(data(one("name", String(i))));
  assert.equal(w.seen.length, 1);
  await w.breath();
  assert.equal(w.seen.length, 5);
  await w.close();
});

test("moves: the first at once, one a frame, only the newest", async () => {
  const w = new World();
  await w.attach();
  for (let x = 0; x < 100; x++) w.tunnel.sendMessage("mouse", x, 0, 0);
  assert.deepEqual(w.sent, ["mouse 0 0 0"]);
  await w.frame();
  assert.deepEqual(w.sent, ["mouse 0 0 0", "mouse 99 0 0"]);
  await w.frame();
  await w.frame();
  assert.equal(w.sent.length, 2);
  await w.close();
});

test("clicks, wheel and keys are never dropped or overtaken", async () => {
  const w = new World();
  await w.attach();
  const s = (...e) => w.tunnel.sendMessage(...e);
  s("mouse", 1, 1, 0);
  s("mouse", 2, 2, 0);
  s("mouse", 3, 3, 1); // the click carries the place: the move that waits is not needed
  s("mouse", 4, 4, 1);
  s("mouse", 5, 5, 0);
  for (let i = 0; i < 3; i++) {
    s("mouse", 5, 5, 8);
    s("mouse", 5, 5, 0);
  }
  s("mouse", 9, 9, 0);
  s("key", 97, true); // a key goes to what the pointer is over
  s("key", 97, false);
  assert.deepEqual(w.sent, [
    "mouse 1 1 0", "mouse 3 3 1", "mouse 5 5 0", ...Array(3).fill(["mouse 5 5 8", "mouse 5 5 0"]).flat(), "mouse 9 9 0", "key 97 1", "key 97 0",
  ]);
  await w.close();
});

test("moves wait for a clear road: an acknowledgement, an empty buffer; keys do not", async () => {
  const w = new World();
  await w.attach();
  const s = (...e) => w.tunnel.sendMessage(...e);
  w.pipe.backlog = 1 << 20;
  s("mouse", 1, 1, 0);
  await w.clock.pass(0);
  for (let i = 2; i < 50; i++) s("mouse", i, i, 0);
  await w.frame();
  assert.equal(w.sent.length, 1); // one each tenth of a second
  s("key", 97, 1);
  assert.deepEqual(w.sent.slice(1), ["mouse 49 49 0", "key 97 1"]);
  s("mouse", 50, 50, 0);
  await w.clock.pass(100);
  await w.frame();
  assert.equal(w.sent.at(-1), "mouse 50 50 0");
  s("mouse", 51, 51, 0);
  w.pipe.backlog = 0;
  await w.push(ack(10));
  assert.equal(w.sent.at(-1), "mouse 51 51 0");
  await w.close();
});

test("never more than a window ahead; what waits keeps its order", async () => {
  const w = new World();
  await w.attach({ window: 100 });
  const s = (...e) => w.tunnel.sendMessage(...e);
  for (let i = 0; i < 20; i++) s("key", 1000 + i, 1);
  s("mouse", 7, 7, 0);
  const size = Buffer.byteLength(one("key", 1000, 1));
  assert.equal(w.sent.length, Math.floor(100 / size));
  let acked = 0;
  for (let i = 0; i < 40; i++) {
    assert.ok(w.pipe.typed.length - acked <= 100);
    acked = w.pipe.typed.length;
    await w.push(ack(acked));
    await w.frame();
    await w.clock.pass(100);
  }
  assert.deepEqual(w.sent, [...Array.from({ length: 20 }, (_, i) => `key ${1000 + i} 1`), "mouse 7 7 0"]);
  // More than was sent: the relay is not to be trusted with the rest.
  await w.push(ack(acked + 1));
  assert.equal(w.state, "stopped");
  assert.equal(w.link.state.problem.code, "protocol_error");
  await w.close();
});

test("a relay that takes nothing is left, with what waits for it", async () => {
  const w = new World();
  await w.attach();
  for (let i = 0; i < 200 && w.state === "attached"; i++) {
    w.tunnel.sendMessage("blob", 1, "x".repeat(8000));
    await settle();
  }
  assert.equal(w.state, "waiting");
  await w.close();
});

test("who may only look sends no key and no pointer, but answers", async () => {
  for (const o of [{ watching: true }, { desktop: new Map([[6, true]]) }]) {
    const w = new World();
    await w.attach(o);
    for (const m of [["key", 1, 1], ["mouse", 1, 1, 1], ["touch", 1], ["size", 5, 5], ["clipboard", 0, "text/plain"], ["sync", 5], ["ack", 0, "OK", 0]]) w.tunnel.sendMessage(...m);
    assert.deepEqual(w.sent, ["sync 5", "ack 0 OK 0"]);
    await w.close();
  }
});

test("a broken connection: a new ticket, a new tunnel, counting from nothing", async () => {
  const w = new World();
  await w.attach();
  w.tunnel.sendMessage("key", 97, 1);
  await w.push(data("4.name,5.ha")); // cut
  w.pipe.close();
  await settle();
  assert.equal(w.state, "waiting");
  w.tunnel.sendMessage("key", 98, 1); // to nowhere: the relay has released all keys
  await w.clock.pass(0);
  await w.attach();
  assert.equal(w.tunnels.length, 2);
  assert.deepEqual(w.sent, []);
  assert.equal(w.pipe.of(0x27)[0].has(2), false);
  const client = (p) => Buffer.from(p.of(0x27)[0].get(4)).toString("hex");
  assert.equal(client(w.pipes[0]), client(w.pipes[1]));
  const nop = one("nop");
  await w.push(data(nop));
  await w.clock.pass(50);
  assert.equal(w.pipe.of(0x28).at(-1).get(1), nop.length);
  assert.deepEqual(w.seen, [["nop"]]);
  assert.equal(w.tunnels[0].isConnected(), false);
  await w.close();
});

test("taken over, and taken back; then it ends", async () => {
  const w = new World();
  await w.attach();
  const byItself = () => w.pipe.got[0][1].get(9) ?? false; // who has taken it over keeps it
  assert.equal(byItself(), false);
  w.pipe.close();
  await settle();
  await w.clock.pass(1000);
  await w.attach();
  assert.equal(byItself(), true);
  await w.push(exit(122));
  assert.equal(w.state, "elsewhere");
  w.link.again();
  await w.attach();
  assert.equal(byItself(), false);
  assert.equal(w.state, "attached");
  await w.push(exit(46));
  assert.equal(w.state, "ended");
  assert.equal(w.link.state.exit.code, 46);
  await w.done;
});

test("what the relay must not send ends the link", async () => {
  for (const bad of [data("x.name;"), data(Uint8Array.of(0x34, 0x2e, 0xff, 0xff)), data("4.nameX")]) {
    const w = new World();
    await w.attach();
    await w.push(bad);
    assert.equal(w.state, "stopped");
    assert.equal(w.link.state.problem.code, "protocol_error");
    await w.close();
  }
  const w = new World();
  await settle();
  await w.push(attached({}));
  assert.equal(w.state, "stopped"); // a terminal
  await w.close();
});

test("the end of a desktop is told by Exit alone", async () => {
  const w = new World();
  await w.attach();
  await w.push(data(one("error", "x", 519) + one("disconnect") + one("name", "n")));
  assert.deepEqual(w.seen, [["name", "n"]]);
  assert.equal(w.state, "attached");
  await w.close();
});
