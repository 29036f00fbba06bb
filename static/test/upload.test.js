import assert from "node:assert/strict";
import { test } from "node:test";
import { Streams } from "../src/desktop/streams";
import { entriesOf, askable, folderType } from "../src/desktop/listing";
import { fit, Uploads } from "../src/desktop/uploads";
import { FakeClock } from "./fake";

/** until lets reads of files finish, which take real time. */
async function until(what, f) {
  for (const end = Date.now() + 20_000; !f(); await new Promise((done) => setTimeout(done, 1))) if (Date.now() > end) assert.fail(`${what}: never`);
}

/** Guacd is the drive of one viewer's, as guacd 1.3 and 1.6 have it: each put, blob and end is acknowledged. */
class Guacd {
  files = new Map(); // by path
  open = new Map(); // streams
  acks = []; // that were not delivered yet
  got = []; // opcodes
  flight = 0; // blobs that were not acknowledged
  most = 0;
  constructor(answers = (ack) => [ack]) {
    this.answers = answers;
    this.streams = new Streams();
    this.object = 3;
  }

  send(opcode, ...args) {
    this.got.push(opcode);
    const say = (index, text, status = 0, of = opcode) => this.acks.push({ args: [String(index), text, String(status)], of });
    if (opcode === "put") {
      const [object, index, , path] = args;
      assert.equal(object, this.object);
      assert(!this.open.has(index), `stream ${index} is still open`);
      this.open.set(index, path);
      this.files.set(path, []);
      say(index, "OK (STREAM BEGIN)");
    } else if (opcode === "blob") {
      const [index, data] = args;
      const path = this.open.get(index);
      if (path === undefined) return; // guacd does not answer either
      assert(data.length <= 8192, "an element is too long for guacd");
      this.files.get(path).push(Buffer.from(data, "base64"));
      this.most = Math.max(this.most, ++this.flight);
      say(index, "OK (DATA RECEIVED)");
    } else if (opcode === "end") {
      if (this.open.delete(args[0])) say(args[0], "OK (STREAM END)");
    } else assert.fail(opcode);
  }

  /** step delivers one acknowledgement, or what the test makes of it; false: there was none. */
  step() {
    const ack = this.acks.shift();
    if (!ack) return false;
    if (ack.of === "blob") this.flight--;
    for (const a of this.answers(ack, this)) this.streams.ack(a.args);
    return true;
  }

  get drive() {
    return { object: this.object, streams: this.streams, send: (...e) => this.send(...e) };
  }

  content(path) {
    return Buffer.concat(this.files.get(path) ?? []);
  }
}

const file = (name, size, type = "") => {
  const b = Buffer.alloc(size);
  for (let i = 0; i < size; i++) b[i] = (i * 7 + (i >> 8) + name.length) & 255;
  return new File([b], name, { type });
};
const bytes = async (f) => Buffer.from(await f.arrayBuffer());

class World {
  clock = new FakeClock();
  items = [];
  done = 0;
  constructor() {
    this.uploads = new Uploads(this.clock, () => {}, () => this.done++);
  }

  add(f, folder = "") {
    const i = this.uploads.add(f, folder);
    this.items.push(i);
    return i;
  }

  async run(...guacds) {
    await until("the uploads are over", () => {
      for (const g of guacds) g.step();
      return !this.uploads.busy;
    });
  }
}

test("twenty files of all sizes arrive, byte by byte", async () => {
  const [w, g] = [new World(), new Guacd()];
  w.uploads.use(g.drive);
  const sizes = [0, 1, 6047, 6048, 6049, 12096, 300_000, 604_800, 604_801, 1_500_000];
  const files = [...sizes, ...sizes].map((n, i) => file(`f${i}`, n, i % 2 ? "text/plain" : ""));
  for (const f of files) w.add(f, "/in");
  await w.run(g);
  for (const [n, f] of files.entries()) {
    assert.deepEqual([w.items[n].state, w.items[n].taken], ["there", f.size]);
    assert((await bytes(f)).equals(g.content(`/in/${f.name}`)), `${f.name} differs`);
  }
  assert.equal(w.done, 1);
  assert.equal(g.open.size, 0, "streams stay open");
  assert(g.most > 1 && g.most <= 8, `${g.most} blobs at once`);
});

test("nothing is sent before guacd has answered the stream, and the end not before it has all", async () => {
  const [w, g] = [new World(), new Guacd()];
  w.uploads.use(g.drive);
  const i = w.add(file("a", 10_000));
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(g.got, ["put"]);
  g.step();
  await until("two blobs", () => g.got.length === 3);
  g.step();
  await new Promise((done) => setTimeout(done, 20));
  assert.deepEqual(g.got, ["put", "blob", "blob"]);
  g.step();
  await until("the end", () => g.got.length === 4);
  assert.deepEqual([g.got[3], i.state], ["end", "goes"]);
  g.step();
  assert.equal(i.state, "there");
});

test("guacd refuses, or its disk is full: that file fails, and the next one goes", async () => {
  const refuse = (ack, g) => {
    if (g.open.get(Number(ack.args[0])) === "/no" && ack.of === "put") return [{ args: [ack.args[0], "FAIL (CANNOT OPEN)", "771"] }];
    if (g.open.get(Number(ack.args[0])) === "/full" && g.got.length > 20) return [{ args: [ack.args[0], "FAIL (BAD WRITE)", "771"] }];
    return [ack];
  };
  const [w, g] = [new World(), new Guacd(refuse)];
  w.uploads.use(g.drive);
  w.add(file("no", 100));
  const full = w.add(file("full", 300_000));
  w.add(file("yes", 300_000));
  await w.run(g);
  assert.deepEqual(w.items.map((i) => [i.state, i.why]), [["failed", "guacd says FAIL (CANNOT OPEN)"], ["failed", "guacd says FAIL (BAD WRITE)"], ["there", ""]]);
  assert(full.taken > 0 && full.taken < 300_000);
  assert((await bytes(w.items[2].file)).equals(g.content("/yes")));
  assert.equal(g.open.size, 0, "streams stay open");
});

test("a guacd that answers twice, too often or to other streams does no harm", async () => {
  const noisy = (ack) => [ack, ack, { args: ["33", "OK", "0"] }, { args: ["63", "OK", "0"] }, { args: ["-1", "OK", "0"] }, { args: ["32.5", "", "0"] }, ack];
  const [w, g] = [new World(), new Guacd(noisy)];
  w.uploads.use(g.drive);
  for (let n = 0; n < 5; n++) w.add(file(`f${n}`, 100_000));
  await w.run(g);
  for (const i of w.items) {
    assert.equal(i.state, "there");
    assert((await bytes(i.file)).equals(g.content(`/${i.file.name}`)));
  }
  assert(g.most <= 3 * 8, `${g.most} blobs at once`);
});

test("a guacd that does not answer is not waited for without end", async () => {
  for (const deaf of ["put", "blob", "end"]) {
    const [w, g] = [new World(), new Guacd((ack) => (ack.of === deaf ? [] : [ack]))];
    w.uploads.use(g.drive);
    const i = w.add(file("a", 100));
    await until(deaf, () => {
      g.step();
      return g.got.includes(deaf) && g.acks.length === 0;
    });
    await w.clock.pass(61_000);
    assert.deepEqual([i.state, i.why], ["failed", "guacd does not answer"], deaf);
    assert.equal(g.open.size, 0, "a stream stays open");
    assert.equal(w.done, 1);
  }
});

test("cancelled: one that goes, one that waits; the others arrive", async () => {
  const [w, g] = [new World(), new Guacd()];
  w.uploads.use(g.drive);
  const [a, b, c] = ["a", "b", "c"].map((n) => w.add(file(n, 3_000_000)));
  await until("half of it", () => {
    g.step();
    return a.taken > 1_000_000;
  });
  w.uploads.cancel(b);
  w.uploads.cancel(a);
  assert.deepEqual([a.state, a.why, b.state, b.why], ["failed", "cancelled", "failed", "cancelled"]);
  await w.run(g);
  assert.equal(c.state, "there");
  assert((await bytes(c.file)).equals(g.content("/c")));
  assert.equal(g.files.has("/b"), false);
  assert.equal(g.open.size, 0, "a stream stays open");
});

test("a lost connection in the middle: the file begins anew with the next one", async () => {
  const [w, g, next] = [new World(), new Guacd(), new Guacd()];
  w.uploads.use(g.drive);
  const [a, b] = ["a", "b"].map((n) => w.add(file(n, 2_000_000)));
  await until("half of it", () => {
    g.step();
    return a.taken > 500_000;
  });
  w.uploads.lost();
  const before = g.got.length;
  while (g.step()); // what comes too late
  assert.deepEqual([a.state, a.taken, b.state], ["waits", 0, "waits"]);
  await new Promise((done) => setTimeout(done, 20));
  assert.equal(g.got.length, before, "something is sent to the lost one");
  next.object = 5;
  w.uploads.use(next.drive);
  await w.run(next);
  for (const i of [a, b]) {
    assert.equal(i.state, "there");
    assert((await bytes(i.file)).equals(next.content(`/${i.file.name}`)));
  }
});

test("the desktop ends: what waits fails, and says why", async () => {
  const [w, g] = [new World(), new Guacd()];
  w.uploads.use(g.drive);
  w.add(file("a", 1000));
  w.add(file("b", 1000));
  w.uploads.end("the desktop has ended");
  assert.deepEqual(w.items.map((i) => [i.state, i.why]), [["failed", "the desktop has ended"], ["failed", "the desktop has ended"]]);
  assert.equal(w.uploads.busy, false);
});

test("a file that cannot be read fails alone", async () => {
  const [w, g] = [new World(), new Guacd()];
  w.uploads.use(g.drive);
  const bad = file("bad", 1_000_000);
  bad.slice = () => ({ arrayBuffer: () => Promise.reject(new Error("gone")) });
  const short = file("short", 1_000_000);
  short.slice = () => new Blob([]);
  for (const f of [bad, short, file("good", 10)]) w.add(f);
  await w.run(g);
  assert.deepEqual(w.items.map((i) => i.state), ["failed", "failed", "there"]);
  assert.match(w.items[0].why, /cannot be read: gone/);
  assert.equal(g.open.size, 0, "a stream stays open");
});

test("names that a drive does not take are refused before they are sent", () => {
  const [w, g] = [new World(), new Guacd()];
  w.uploads.use(g.drive);
  for (const name of ["a\nb", "a\u0007", "a\u007f", "..", ".", "", "a\\b", "a:b".repeat(100)]) {
    assert.notEqual(fit(name), undefined, JSON.stringify(name));
    assert.equal(w.add(new File(["x"], name)).state, "failed");
  }
  assert.deepEqual(g.got, []);
  for (const name of ["a b", "grüße.txt", "日本語", "😀", "..a", "__proto__"]) assert.equal(fit(name), undefined, name);
});

test("more files than may wait are refused", () => {
  const w = new World();
  for (let n = 0; n < 1001; n++) w.add(new File([], `f${n}`));
  assert.deepEqual([w.items[999].state, w.items[1000].state], ["waits", "failed"]);
});

test("listings: folders first, and whatever else comes is none", () => {
  assert.deepEqual(entriesOf(JSON.stringify({ "/b": "x", "/a": "y", "/sub": folderType })).map((e) => e.name), ["sub", "a", "b"]);
  assert.deepEqual(entriesOf('{"/__proto__": "x"}').map((e) => e.path), ["/__proto__"]);
  for (const bad of ["", "null", "3", "{", '"a"']) assert.equal(entriesOf(bad), undefined, bad);
  for (const path of ["/a/../b", "/..", "/a\nb", "/\u007f", "\\..\\a", "/" + "a".repeat(5000)]) assert(!askable(path), path);
  for (const path of ["/", "/a b/c..d", "/grüße"]) assert(askable(path), path);
});
