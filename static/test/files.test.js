import assert from "node:assert/strict";
import { test } from "node:test";
import { Path } from "../src/api/path";
import { Problem } from "../src/api/problem";
import { fit, numbered, permissions, shown } from "../src/files/name";
import { Uploads } from "../src/files/uploads";
import { fromDrop, fromInput } from "../src/files/walk";
import { FakeClock } from "./fake";

/** until lets reads of files finish, which take real time. */
async function until(what, f) {
  for (const end = Date.now() + 20_000; !f(); await new Promise((done) => setTimeout(done, 1))) if (Date.now() > end) assert.fail(`${what}: never`);
}

/** Machine is the files of one, with the API's words. */
class Machine {
  files = new Map(); // by path: {bytes, modified}
  folders = new Set(["/", "/home", "/home/ann"]);
  parts = new Map(); // of uploads that are not whole, by path and size
  got = [];
  now = 0; // pieces under way
  most = 0;
  clumsy = 0; // requests that were cut off are still at work, for so many answers
  /** fault may throw, before a piece is taken or, with after, when it was */
  fault = () => {};

  async put(p, piece, signal, moved) {
    const path = p.text;
    this.got.push(`put ${path} ${piece.offset}`);
    this.most = Math.max(this.most, ++this.now);
    try {
      await new Promise((done) => setTimeout(done));
      signal.throwIfAborted();
      this.fault("before", path, piece);
      if (this.folders.has(path)) throw Problem.of("conflict", "", 409);
      if (this.files.has(path) && !piece.overwrite) throw Problem.of("conflict", "", 409);
      if (!this.folders.has(p.parent.text)) throw Problem.of("not_found", `${p.parent.text} is not there`, 404);
      const key = `${path} ${piece.size}`;
      const before = piece.offset === 0 ? Buffer.alloc(0) : (this.parts.get(key) ?? Buffer.alloc(0));
      if (piece.offset > before.length) throw Problem.of("bad_request", `there are only ${before.length} bytes`, 400);
      const body = Buffer.from(await piece.body.arrayBuffer());
      moved(body.length / 2);
      const all = Buffer.concat([before.subarray(0, piece.offset), body]);
      if (all.length < piece.size) this.parts.set(key, all);
      else {
        this.parts.delete(key);
        this.files.set(path, { bytes: all, modified: piece.modified });
      }
      this.fault("after", path, piece);
    } finally {
      this.now--;
    }
  }

  async offset(p, size) {
    this.got.push(`offset ${p.text}`);
    return this.parts.get(`${p.text} ${size}`)?.length ?? 0;
  }

  async makeFolder(p) {
    this.got.push(`folder ${p.text}`);
    this.fault("folder", p.text);
    if (this.folders.has(p.text) || this.files.has(p.text)) throw Problem.of("conflict", "", 409);
    if (!this.folders.has(p.parent.text)) throw Problem.of("not_found", "", 404);
    this.folders.add(p.text);
  }

  async giveUp(p, size) {
    this.got.push(`give up ${p.text}`);
    if (this.now > 0 && this.clumsy-- > 0) throw Problem.of("conflict", "it is being uploaded", 409);
    this.parts.delete(`${p.text} ${size}`);
  }

  async list(p) {
    this.got.push(`list ${p.text}`);
    if (this.files.has(p.text)) throw Problem.of("bad_request", "it is no folder", 400);
    if (!this.folders.has(p.text)) throw Problem.of("not_found", "", 404);
    const entries = [...this.files].filter(([path]) => Path.of({ path }).parent.text === p.text)
      .map(([path, f]) => ({ name: Path.of({ path }).last.text, kind: "file", size: f.bytes.length, mode: "0644", modified: new Date(Math.trunc(f.modified / 1000) * 1000).toISOString() }));
    return { path: p.text, entries, more: false };
  }
}

const home = Path.of({ path: "/home/ann" });

const file = (name, size, lastModified = 1_700_000_000_123) => {
  const b = Buffer.alloc(size);
  for (let i = 0; i < size; i++) b[i] = (i * 7 + (i >> 8) + name.length) & 255;
  return new File([b], name, { lastModified });
};
const bytes = async (f) => Buffer.from(await f.arrayBuffer());
const broken = () => Problem.of("relay_unreachable");

async function* found(...list) {
  for (const f of list) yield Array.isArray(f) ? { names: f } : f instanceof File ? { names: [f.name], file: f } : f;
}
const at = (names, f) => ({ names: names.split("/"), file: f });

class World {
  clock = new FakeClock();
  machine = new Machine();
  asked = [];
  arrived = new Set();
  answers = []; // of the person
  constructor() {
    this.uploads = new Uploads(this.clock, {
      changed: () => {},
      ask: async (i) => {
        this.asked.push(i.name);
        await new Promise((done) => setTimeout(done));
        assert(this.answers.length > 0, `nobody answers about ${i.name}`);
        const a = this.answers.shift();
        return typeof a === "function" ? a() : a;
      },
      arrived: (p) => this.arrived.add(p.text),
    });
  }

  /** done waits until nothing is on its way; time goes by meanwhile. */
  async done() {
    await until("the end", () => {
      void this.clock.pass(500);
      return !this.uploads.busy;
    });
  }

  async has(path, f) {
    const there = this.machine.files.get(path);
    assert(there, `${path} is not there`);
    assert(there.bytes.equals(await bytes(f)), `${path} has other bytes`);
    assert.equal(there.modified, f.lastModified);
  }
}

test("files and trees arrive byte by byte, a few at a time, folders before what is in them", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const files = [0, 1, 524_287, 524_288, 524_289, 3_000_000].map((n) => file(`f${n}`, n));
  const deep = file("deep.txt", 20);
  void w.uploads.add(found(["top"], ["top", "empty"], at("top/a/b/deep.txt", deep), ...files), home);
  await w.done();
  for (const f of files) await w.has(`/home/ann/${f.name}`, f);
  await w.has("/home/ann/top/a/b/deep.txt", deep);
  assert(w.machine.folders.has("/home/ann/top/empty"));
  assert.deepEqual(w.uploads.totals, { files: 9, bytes: files.reduce((n, f) => n + f.size, 20), done: 9, sent: files.reduce((n, f) => n + f.size, 20), skipped: 0, cancelled: 0, failed: 0, looking: false });
  assert(w.machine.most <= 4, `${w.machine.most} at once`);
  assert.equal(w.machine.got.filter((g) => g === "folder /home/ann/top").length, 1, "a folder is made twice");
  assert.equal(w.machine.parts.size, 0);
});

test("thousands of small files: all arrive, never more than four at once", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const n = 3000;
  await w.uploads.add((async function* () {
    for (let i = 0; i < n; i++) yield at(`many/f${i}`, file(`f${i}`, i % 50));
  })(), home);
  await w.done();
  assert.equal(w.machine.files.size, n);
  assert.equal(w.uploads.totals.done, n);
  assert.equal(w.machine.most, 4);
  assert.equal(w.asked.length, 0);
});

test("a broken connection: a file goes on where it was", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const f = file("big", 5_000_000);
  let faults = 0;
  w.machine.fault = (when, path, p) => {
    if (when === "before" && p.offset > 2_000_000 && faults < 3) {
      faults++;
      throw broken();
    }
  };
  void w.uploads.add(found(f), home);
  await w.done();
  await w.has("/home/ann/big", f);
  assert.equal(faults, 3);
  const again = w.machine.got.slice(w.machine.got.findLastIndex((g) => g.startsWith("offset")) + 1);
  assert(!again.includes("put /home/ann/big 0"), `it began anew: ${again}`);
});

test("no session for a while: all wait, and the next session goes on", async () => {
  const w = new World();
  const [a, b] = [file("a", 4_000_000), file("b", 100)];
  void w.uploads.add(found(a, b), home);
  assert(w.uploads.paused && w.uploads.busy);
  w.machine.fault = (when, path, p) => {
    if (when === "after" && p.offset > 1_000_000 && w.machine.fault) {
      w.machine.fault = () => {};
      w.uploads.lost();
    }
  };
  w.uploads.use(w.machine);
  await until("the loss", () => w.uploads.paused);
  const before = w.machine.got.length;
  await new Promise((done) => setTimeout(done, 30));
  assert.deepEqual(w.machine.got.slice(before).filter((g) => g.startsWith("put")), [], "something is sent to the lost one");
  // Another session, the same machine.
  w.uploads.use(Object.fromEntries(["put", "offset", "makeFolder", "list", "giveUp"].map((n) => [n, (...x) => w.machine[n](...x)])));
  await w.done();
  await w.has("/home/ann/a", a);
  await w.has("/home/ann/b", b);
  assert.equal(w.machine.got.filter((g) => g === "put /home/ann/a 0").length, 1, "it began anew");
});

test("who is signed out loses nothing: all waits until somebody has signed in", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  w.machine.fault = () => {
    throw Problem.of("signed_out", "", 401);
  };
  void w.uploads.add(found(file("a", 10), file("b", 10)), home);
  await until("the pause", () => w.uploads.paused);
  await w.clock.pass(60_000);
  assert(w.uploads.busy && w.uploads.totals.failed === 0);
  w.machine.fault = () => {};
  w.uploads.use(w.machine);
  await w.done();
  assert.equal(w.uploads.totals.done, 2);
});

test("a session that ended a moment ago is not taken for a fault of the file", async () => {
  for (const [code, status] of [["not_found", 404], ["killed", 409], ["expired", 401], ["operator_changed", 401]]) {
    const w = new World();
    w.uploads.use(w.machine);
    w.machine.fault = () => {
      throw Problem.of(code, "", status);
    };
    void w.uploads.add(found(file("a", 10)), home);
    await until("an answer", () => w.machine.got.length > 0);
    await w.clock.pass(1000);
    w.uploads.lost();
    await w.clock.pass(1000);
    assert.equal(w.uploads.totals.failed, 0, code);
    w.machine.fault = () => {};
    w.uploads.use(w.machine);
    await w.done();
    assert.equal(w.uploads.totals.done, 1, code);
  }
});

test("what a machine refuses is not tried again by itself", async () => {
  for (const [code, status] of [["file_failed", 502], ["file_denied", 403], ["file_nospace", 507], ["channel_not_allowed", 403]]) {
    const w = new World();
    w.uploads.use(w.machine);
    w.machine.fault = () => {
      throw Problem.of(code, "no", status);
    };
    void w.uploads.add(found(file("a", 10)), home);
    await until(code, () => w.uploads.totals.failed === 1); // no time has passed
    assert.equal(w.machine.got.filter((g) => g.startsWith("put")).length, 1, code);
  }
});

test("no file is read into the page: it goes in pieces of some MiB", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const f = file("large", 40_000_000);
  const want = await bytes(f);
  const pieces = [];
  for (const way of ["arrayBuffer", "text", "stream", "bytes"]) f[way] = () => assert.fail(`the file is read by ${way}`);
  f.slice = (from, to) => {
    pieces.push(to - from);
    return File.prototype.slice.call(f, from, to);
  };
  void w.uploads.add(found(f), home);
  await w.done();
  assert(w.machine.files.get("/home/ann/large").bytes.equals(want));
  assert(pieces.length > 4 && Math.max(...pieces) <= 8 << 20, `pieces of ${pieces}`);
});

test("the answer to the last piece is lost: the file is not asked about, and not sent twice", async () => {
  for (const size of [0, 10, 2_000_000]) {
    const w = new World();
    w.uploads.use(w.machine);
    const f = file("x", size);
    let lost = 0;
    w.machine.fault = (when, path, p) => {
      if (when === "after" && p.offset + p.body.size === p.size && lost++ === 0) throw broken();
    };
    void w.uploads.add(found(f), home);
    await w.done();
    await w.has("/home/ann/x", f);
    assert.deepEqual([w.asked, w.uploads.totals.done, lost], [[], 1, 1], `${size} bytes`);
  }
});

test("names that are taken: asked once for all, the rest goes on meanwhile", async () => {
  const names = ["a.txt", "b.txt", "c", ".d", "e.tar.gz"];
  for (const [answer, check] of [
    [{ what: "replace", all: true }, (w) => assert.equal(w.machine.files.size, 6)],
    [{ what: "skip", all: true }, (w) => assert.deepEqual([w.uploads.totals.skipped, w.machine.files.get("/home/ann/c").bytes.toString()], [5, "old"])],
    [{ what: "both", all: true }, (w) => {
      for (const n of ["a (2).txt", "b (2).txt", "c (2)", ".d (2)", "e.tar (2).gz"]) assert(w.machine.files.has(`/home/ann/${n}`), n);
      assert.equal(w.machine.files.get("/home/ann/c").bytes.toString(), "old");
    }],
  ]) {
    const w = new World();
    for (const n of names) w.machine.files.set(`/home/ann/${n}`, { bytes: Buffer.from("old"), modified: 0 });
    w.answers.push(answer);
    w.uploads.use(w.machine);
    void w.uploads.add(found(...names.map((n) => file(n, 1000)), file("free", 9)), home);
    await w.done();
    assert.equal(w.asked.length, 1, `asked about ${w.asked}`);
    assert(w.machine.files.has("/home/ann/free"));
    assert.equal(w.uploads.totals.failed, 0);
    check(w);
  }
});

test("a conflict without a file of that name is tried again: an upload out of step, or one that is still at work", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const f = file("x", 3_000_000);
  let faults = 0;
  w.machine.fault = (when, path, p) => {
    if (when === "before" && p.offset > 0 && faults++ < 2) throw Problem.of("conflict", "so much of it is not there", 409);
    if (when === "before" && p.offset === 0 && faults++ < 1) throw Problem.of("conflict", "it is being uploaded already", 409);
  };
  void w.uploads.add(found(f), home);
  await w.done();
  await w.has("/home/ann/x", f);
  assert.deepEqual(w.asked, []);
  assert(faults >= 3);
});

test("what was given up while there was no connection is removed with the next", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  w.machine.fault = (when, path, p) => {
    if (when === "before" && p.offset > 0) throw broken();
  };
  void w.uploads.add(found(file("x", 3_000_000)), home);
  await until("a part", () => w.machine.parts.size === 1);
  w.uploads.lost();
  w.uploads.cancel();
  await w.done();
  assert.equal(w.machine.parts.size, 1);
  w.machine.now = 1;
  w.machine.clumsy = 2;
  w.uploads.use(w.machine);
  await until("it is removed", () => {
    void w.clock.pass(500);
    return w.machine.parts.size === 0;
  });
});

test("the first piece is small, and so is what follows a break: a refusal is heard", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const f = file("x", 3_000_000);
  const sizes = [];
  w.machine.fault = (when, path, p) => {
    if (when !== "before") return;
    // As a browser has it that is still sending while the relay is done.
    if (p.offset > 0 && p.body.size > 256 << 10) throw broken();
    sizes.push(p.body.size);
    if (p.offset > 0) throw Problem.of("internal", "no space left on device", 500);
  };
  void w.uploads.add(found(f), home);
  await w.done();
  assert.deepEqual(w.uploads.failures.map((i) => i.why), ["no space left on device"]);
  assert.deepEqual(sizes, [65536, 65536]);
});

test("a full disk: when there is room again, the upload goes on", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const f = file("x", 3_000_000);
  w.machine.fault = (when, path, p) => {
    if (when === "before" && p.offset > 1_000_000) throw Problem.of("file_nospace", "the machine's disk is full", 507);
  };
  void w.uploads.add(found(f), home);
  await w.done();
  assert.deepEqual(w.uploads.failures.map((i) => i.why), ["the machine's disk is full"]);
  w.machine.fault = () => {};
  w.uploads.retry();
  await w.done();
  await w.has("/home/ann/x", f);
  assert.equal(w.machine.got.filter((g) => g === "put /home/ann/x 0").length, 1, "it began anew");
  const t = w.uploads.totals;
  assert.deepEqual([t.files, t.done, t.failed, t.bytes, t.sent], [1, 1, 0, 3_000_000, 3_000_000]);
});

test("one answer a name, and a way to give all of it up", async () => {
  const w = new World();
  for (const n of ["a", "a (2)", "b", "c", "d"]) w.machine.files.set(`/home/ann/${n}`, { bytes: Buffer.from("old"), modified: 0 });
  w.answers.push({ what: "both", all: false }, { what: "replace", all: false }, () => until("what was answered", () => w.machine.files.has("/home/ann/a (3)") && w.machine.files.get("/home/ann/b").bytes.length === 50));
  w.uploads.use(w.machine);
  void w.uploads.add(found(...["a", "b", "c", "d"].map((n) => file(n, 50))), home);
  await w.done();
  assert.equal(w.asked.length, 3);
  assert.equal(w.machine.files.get("/home/ann/a (3)")?.bytes.length, 50, "the next free name");
  assert.equal(w.machine.files.get("/home/ann/b").bytes.length, 50);
  assert.equal(w.machine.files.get("/home/ann/c").bytes.toString() + w.machine.files.get("/home/ann/d").bytes, "oldold");
  assert.equal(w.uploads.totals.cancelled, 2);
});

test("two files to one name go one behind the other", async () => {
  const w = new World();
  w.answers.push({ what: "both", all: false });
  w.uploads.use(w.machine);
  void w.uploads.add(found(file("same", 900_000)), home);
  void w.uploads.add(found(file("same", 70)), home);
  await w.done();
  assert.deepEqual([...w.machine.files].map(([p, f]) => [p, f.bytes.length]), [["/home/ann/same", 900_000], ["/home/ann/same (2)", 70]]);
});

test("what fails is told at the end, the rest goes on, and may be tried again", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  w.machine.fault = (when, path) => {
    if (path.endsWith("full")) throw Problem.of("internal", `${path}: no space left on device`, 500);
    if (path.endsWith("/locked")) throw Problem.of("forbidden", "permission denied", 403);
  };
  void w.uploads.add(found(file("full", 10), at("locked/a", file("a", 10)), at("locked/b", file("b", 10)), { names: ["dir", "gone"], why: "it cannot be read: gone" }, file("x/..".slice(0, 1), 3), at("../up", file("up", 1)), file("good", 5)), home);
  await w.done();
  assert.deepEqual(w.uploads.failures.map((i) => [i.name, i.why]).sort(), [
    ["a", "permission denied"], ["b", "permission denied"], ["full", "no space left on device"], ["gone", "it cannot be read: gone"], ["up", "A file cannot be called so."],
  ]);
  assert.equal(w.machine.got.filter((g) => g === "folder /home/ann/locked").length, 1, "a folder that is forbidden is tried for each file");
  assert(w.machine.files.has("/home/ann/good"));
  const t = w.uploads.totals;
  assert.deepEqual([t.files, t.done, t.failed, t.bytes, t.sent], [7, 2, 5, 8, 8]);
  w.machine.fault = () => {};
  w.uploads.lost();
  w.uploads.use(w.machine);
  w.uploads.retry();
  await w.done();
  assert.equal(w.machine.files.get("/home/ann/full").bytes.length, 10);
  assert.equal(w.machine.files.get("/home/ann/locked/b").bytes.length, 10);
});

test("a relay that stays away is not waited for without end", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  w.machine.fault = () => {
    throw broken();
  };
  void w.uploads.add(found(file("x", 10)), home);
  await w.done();
  assert.match(w.uploads.failures[0].why, /does not answer/);
});

test("a file that changed, or is gone, fails alone", async () => {
  const w = new World();
  w.uploads.use(w.machine);
  const gone = file("gone", 100);
  gone.slice = () => ({ size: 100, arrayBuffer: () => Promise.reject(new Error("not found")) });
  const put = w.machine.put.bind(w.machine);
  w.machine.put = (p, piece, ...rest) => (p.text.endsWith("gone") ? Promise.reject(broken()) : put(p, piece, ...rest)); // as a browser tells it
  const short = file("short", 1_000_000);
  short.slice = () => new Blob([]);
  void w.uploads.add(found(gone, short, file("good", 5)), home);
  await w.done();
  assert.deepEqual(w.uploads.failures.map((i) => i.name).sort(), ["gone", "short"]);
  assert.match(w.uploads.failures.find((i) => i.name === "gone").why, /cannot be read any more: not found/);
  assert(w.machine.files.has("/home/ann/good"));
  assert(!w.machine.files.has("/home/ann/short"));
});

test("cancelled: one that goes, one that waits, all; nothing has its own name that is not whole", async () => {
  const w = new World();
  const items = [];
  let hold = true;
  w.machine.fault = (when, path, p) => {
    if (when === "before" && hold && p.offset > 0) throw Problem.of("busy", "", 503);
  };
  w.uploads.use(w.machine);
  void w.uploads.add(found(...["a", "b", "c", "d", "e", "f"].map((n) => file(n, 2_000_000))), home);
  await until("the first pieces", () => w.machine.parts.size === 4);
  items.push(...w.uploads.active);
  w.uploads.cancel(items[0]);
  await until("the next one", () => w.machine.got.includes("put /home/ann/e 0"));
  assert.equal(items[0].state, "cancelled");
  w.uploads.cancel();
  await w.done();
  hold = false;
  assert.equal(w.machine.files.size, 0);
  await until("the parts are removed", () => {
    void w.clock.pass(500);
    return w.machine.parts.size === 0;
  });
  assert.deepEqual([w.uploads.totals.cancelled, w.uploads.totals.bytes, w.uploads.totals.sent], [6, 0, 0]);
  void w.uploads.add(found(file("g", 10)), home);
  await w.done();
  assert.deepEqual([w.uploads.totals.files, w.uploads.totals.done], [1, 1], "the totals begin anew");
});

test("folders that are dropped are walked, whatever is in them", async () => {
  const fileEntry = (f, name = f.name) => ({ isFile: true, name, file: (done) => done(f) });
  const folderEntry = (name, ...parts) => ({ isFile: false, isDirectory: true, name, createReader: () => ({ readEntries: (done, failed) => (parts[0] === "no" ? failed(new Error("denied")) : done(parts.shift() ?? [])) }) });
  const many = Array.from({ length: 250 }, (_, i) => fileEntry(file(`f${i}`, 1)));
  const loop = folderEntry("loop");
  loop.createReader = () => {
    let once = true;
    return { readEntries: (done) => done(once ? ((once = false), [loop]) : []) };
  };
  const items = [
    fileEntry(file("one", 3)), folderEntry("dir", many.slice(0, 100), many.slice(100, 200), many.slice(200)), folderEntry("empty"), folderEntry("shut", "no"),
    { isFile: true, name: "bad", file: (_, failed) => failed(new Error("gone")) }, loop,
  ].map((e) => ({ kind: "file", webkitGetAsEntry: () => e }));
  items.push({ kind: "string" }, { kind: "file", webkitGetAsEntry: () => null, getAsFile: () => file("plain", 1) });
  const all = [];
  for await (const f of fromDrop({ items })) all.push(f);
  const names = all.map((f) => f.names.join("/"));
  assert.equal(all.filter((f) => f.names[0] === "dir" && f.file).length, 250);
  assert(names.indexOf("dir") < names.indexOf("dir/f0"));
  for (const n of ["plain", "one", "empty"]) assert(names.includes(n), n);
  assert.match(all.find((f) => f.names[0] === "shut" && f.why).why, /denied/);
  assert.match(all.find((f) => f.names[0] === "bad").why, /gone/);
  assert.match(all.findLast((f) => f.names[0] === "loop").why, /deep/);
  const chosen = [];
  for await (const f of fromInput([Object.defineProperty(file("x", 1), "webkitRelativePath", { value: "a/b/x" }), Object.defineProperty(file("y", 1), "webkitRelativePath", { value: "" })])) chosen.push(f.names.join("/"));
  assert.deepEqual(chosen, ["a/b/x", "y"]);
});

test("paths keep the bytes of names that are not UTF-8", () => {
  assert.deepEqual(Path.of({ path: "/a b//ü/" }).where, { path: "/a b/ü" });
  assert.deepEqual(Path.of({ path: "/" }).where, { path: "/" });
  const raw = Path.of({ path: "/home" }).join({ text: "\ufffd", raw: "/w==" }, { text: "x" }); // byte 0xff
  assert.deepEqual(raw.where, { raw: Buffer.from("/home/\xff/x", "latin1").toString("base64url") });
  const back = Path.of({ path: "?", raw: raw.where.raw });
  assert.deepEqual(back.where, raw.where);
  assert.deepEqual([back.text, back.names.length, back.last.raw], ["/home/\ufffd/x", 3, undefined]);
  assert.notEqual(raw.key, Path.of({ path: "/home/\ufffd/x" }).key);
  assert.equal(raw.parent.parent.text, "/home");
});

test("names are shown so that they mislead nobody", () => {
  assert.equal(shown("a\u202egnp.exe"), "a<U+202E>gnp.exe");
  assert.equal(shown("a\nb\tc\u0007\u001b[31m"), "a^Jb^Ic^G^[[31m");
  assert.equal(shown("<b>x</b>"), "<b>x</b>");
  assert.equal(shown("\ud800x"), "\ufffdx");
  assert.equal(shown("grüße 日本語 😀"), "grüße 日本語 😀");
  assert.equal([...shown("x".repeat(5000))].length, 255);
});

test("names that no file can have are refused, and those beside a taken one fit", () => {
  for (const n of ["", ".", "..", "a/b", "a\0", "é".repeat(128)]) assert.notEqual(fit(n), undefined, JSON.stringify(n));
  for (const n of ["a b", "..a", "a\\b", "a:b", "a\nb", "é".repeat(127)]) assert.equal(fit(n), undefined, n);
  assert.equal(numbered("a.txt", 2), "a (2).txt");
  assert.equal(numbered(".profile", 3), ".profile (3)");
  assert.equal(fit(numbered("é".repeat(125) + ".txt", 12)), undefined);
});

test("modes in letters", () => {
  for (const [m, want] of [["0644", "rw-r--r--"], ["0755", "rwxr-xr-x"], ["4755", "rwsr-xr-x"], ["1777", "rwxrwxrwt"], ["2640", "rw-r-S---"], ["100600", "rw-------"], ["", ""], ["x", ""]]) assert.equal(permissions(m), want, m);
});
