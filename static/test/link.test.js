import assert from "node:assert/strict";
import { test } from "node:test";
import { Problem } from "../src/api/problem";
import { Link } from "../src/terminal/link";
import { Paste } from "../src/terminal/paste";
import { attached, data, FakeClock, message, Pipe, rawFrame, settle } from "./fake";

const utf8 = (s) => new TextEncoder().encode(s);
const ticket = Buffer.alloc(32, 9).toString("base64url");

/** World is a link, the relay as the test plays it, and a screen whose writes end when the test says. */
class World {
  clock = new FakeClock();
  pipes = [];
  screen = "";
  pending = [];
  lag = false; // the screen takes its time
  refused = [];
  notices = [];
  heard = [];
  lost = 0;
  constructor(attachError, better) {
    this.attachError = attachError;
    this.link = new Link(
      {
        attach: () => (this.attachError ? Promise.reject(this.attachError) : Promise.resolve({ ticket })),
        dial: () => {
          if (this.dialError) return Promise.reject(this.dialError);
          const p = new Pipe();
          this.pipes.push(p);
          return Promise.resolve(p);
        },
        lost: () => this.lost++,
        beside: () => this.beside(),
        better,
        ending: () => Promise.resolve({ code: 83, detail: "gone" }),
      },
      {
        write: (b, done) => {
          const s = new TextDecoder().decode(b);
          const shown = () => {
            if (s === "\x18\x1bc") this.screen = "";
            else this.screen += s;
            done();
          };
          if (this.lag) this.pending.push(shown);
          else shown();
        },
        hidden: () => this.hidden === true,
        size: () => ({ cols: 80, rows: 24 }),
        skips: () => this.skips !== false,
        changed: () => {},
        attached: () => {},
        resized: (s) => (this.followed = s),
        notice: (t) => this.notices.push(t),
        heard: (m) => this.heard.push(m),
        refused: (w) => this.refused.push(w),
      },
      this.clock,
      true,
    );
    this.done = this.link.run();
  }

  get pipe() {
    return this.pipes.at(-1);
  }

  async attach(o) {
    await settle();
    this.pipe.push(attached(o));
    await settle();
  }

  async push(...frames) {
    this.pipe.push(...frames);
    await settle();
  }

  async cut() {
    this.pipe.close();
    await settle();
  }

  type(s) {
    this.link.type(utf8(s));
  }

  get state() {
    return this.link.state.name;
  }
}

const ack = (n) => message(0x28, [[1, n]]);
const exit = (code, o = {}) => message(0x26, [[1, code], [2, ""], [3, o.status ?? 0], [4, ""]]);

test("attach: ticket first, then bytes both ways", async () => {
  const w = new World();
  await w.attach();
  const [first] = w.pipe.got;
  assert.equal(first[0], 0x27);
  assert.equal(Buffer.from(first[1].get(1)).toString("base64url"), ticket);
  assert.equal(first[1].has(2), false);
  await w.push(data("$ "));
  w.type("ls\r");
  await settle();
  assert.equal(w.screen, "$ ");
  assert.equal(w.pipe.typed, "ls\r");
  w.link.close();
  await w.done;
});

test("a better transport is moved to, at the byte where it was both ways", async () => {
  const better = { due: () => undefined, moved: () => (better.changed = true) };
  const w = new World(undefined, better);
  await w.attach();
  await w.push(data("one "));
  w.type("abc");
  await settle();
  w.link.nudge(true);
  await settle();
  assert.ok(better.changed);
  assert.equal(w.pipes.length, 1); // nothing is due
  const next = new Pipe();
  next.kind = "WebTransport";
  let open;
  better.due = (d) => (d.kind === "WebSocket" ? 5000 : undefined);
  better.again = () => new Promise((done) => (open = done));
  w.link.nudge(true);
  await w.clock.pass(4000);
  assert.equal(open, undefined);
  // The relay answers the page's pings.
  await w.push(message(0x05, [[1, w.pipe.of(0x04).at(-1).get(1)]]));
  await w.clock.pass(1000);
  w.link.nudge(true); // one at a time
  await w.push(data("two "));
  w.type("def");
  await settle();
  assert.equal(w.pipe.typed, "abcdef"); // what is there serves until the other is open
  open(next);
  await settle();
  assert.ok(w.pipe.closed);
  const [attach] = next.of(0x27);
  assert.deepEqual([attach.get(2), attach.get(9)], [8, true]);
  w.type("ghi");
  await settle();
  assert.equal(next.typed, ""); // not before the relay has said where input goes on
  next.push(attached({ offset: 8, typed: 3 }), data("three"));
  await settle();
  assert.equal(w.screen, "one two three");
  assert.equal(next.typed, "defghi");
  assert.equal(w.link.transport, "WebTransport");
  assert.deepEqual([w.lost, w.link.gaps, w.pipes.length], [0, 0, 1]);
  // One that cannot be had costs nothing, nor does one that comes when the link is over.
  w.link.close();
  await w.done;
});

test("a better transport that cannot be had, or comes too late, changes nothing", async () => {
  let open, fail;
  const better = { due: () => 0, moved: () => {}, again: () => new Promise((done, failed) => ([open, fail] = [done, failed])) };
  const w = new World(undefined, better);
  await w.attach();
  w.link.nudge();
  await settle();
  fail(new Error("no"));
  await settle();
  assert.equal(w.state, "attached");
  assert.ok(!w.pipe.closed);
  w.link.nudge();
  await settle();
  await w.cut();
  const late = new Pipe();
  open(late);
  await settle();
  assert.ok(late.closed);
  await w.clock.pass(0);
  await w.attach();
  assert.equal(w.state, "attached");
  assert.equal(w.pipes.length, 2);
  w.link.close();
  await w.done;
});

const said = (text) => message(0x2c, [[1, "web-01"], [2, "ann"], [3, text]]);
const ask = (id) => message(0x2d, [[1, id], [2, "web-01"], [3, "ann"], [5, [new Map([[1, "Code:"]])]]]);
const refused = (code) => message(0x12, [[1, code], [2, "why"]]);

test("before there is a shell the machine is heard and answered, over as many connections as it takes", async () => {
  const w = new World();
  await settle();
  assert.equal(w.pipe.of(0x27)[0].get(8), true);
  await w.push(said(""), said("Authorized use only."));
  // A login may take its time: the page asks whether the relay is there, and it answers.
  await w.clock.pass(5000);
  assert.ok(w.pipe.of(0x04).length > 0);
  await w.push(message(0x05, [[1, w.pipe.of(0x04).at(-1).get(1)]]), ask(1));
  assert.deepEqual(w.heard.map((m) => m.text), ["", "Authorized use only.", ""]);
  await w.cut();
  await w.clock.pass(0);
  assert.deepEqual(w.pipes.map((p) => p.of(0x27)[0].get(9) ?? false), [false, true]); // it comes back by itself
  await w.push(said("Authorized use only."), ask(1));
  w.link.answer(1, [utf8("123")]);
  await settle();
  const [answer] = w.pipe.of(0x2e);
  assert.deepEqual([answer.get(1), Buffer.from(answer.get(2)[0]).toString()], [1, "123"]);
  await w.attach();
  assert.equal(w.state, "attached");
  w.link.close();
  await w.done;
});

test("who gives up says so, and hears the end", async () => {
  const w = new World();
  await settle();
  await w.push(said(""), ask(1));
  w.link.giveUp();
  assert.equal(w.pipe.of(0x2e)[0].get(3), true);
  await w.push(refused(120));
  assert.equal(w.state, "stopped");
  assert.equal(w.link.state.problem.code, "cancelled");
  w.link.close();
  await w.done;
});

test("output goes on at the byte where it was, and is shown once", async () => {
  const w = new World();
  await w.attach({ offset: 100, head: 100 });
  await w.push(data("hello"));
  await w.cut();
  await w.clock.pass(0);
  const client = (p) => Buffer.from(p.of(0x27)[0].get(4)).toString("hex");
  assert.equal(w.pipe.of(0x27)[0].get(2), 105);
  assert.equal(client(w.pipes[0]), client(w.pipes[1]));
  // A relay that begins earlier than asked repeats itself: that is not shown.
  await w.attach({ offset: 103, head: 111 });
  await w.push(data("lo w"), data("orld"));
  assert.equal(w.screen, "hello world");
  w.link.close();
  await w.done;
});

test("a gap clears the screen and is counted", async () => {
  const w = new World();
  await w.attach();
  await w.push(data("old"));
  await w.cut();
  await w.clock.pass(0);
  await w.attach({ offset: 5000, head: 5000 });
  await w.push(data("new"));
  assert.equal(w.screen, "new");
  assert.equal(w.link.gaps, 1);
  await w.clock.pass(100);
  assert.deepEqual(w.pipe.of(0x28).map((m) => m.get(1)), [5003]);
  w.link.close();
  await w.done;
});

test("output is acknowledged when it is on the screen: every 64 KiB, and at idle", async () => {
  const w = new World();
  await w.attach();
  w.lag = true;
  for (let i = 0; i < 4; i++) await w.push(data(Buffer.alloc(20_000, 65)));
  assert.deepEqual(w.pipe.of(0x28), []);
  for (const shown of w.pending.splice(0)) shown();
  await w.clock.pass(0);
  assert.deepEqual(w.pipe.of(0x28).map((m) => m.get(1)), [80_000]);
  w.lag = false;
  await w.push(data("x"));
  await w.clock.pass(60);
  assert.deepEqual(w.pipe.of(0x28).map((m) => m.get(1)), [80_000, 80_001]);
  w.link.close();
  await w.done;
});

test("a hidden page acknowledges what comes, up to 4 MiB ahead of its screen", async () => {
  const w = new World();
  await w.attach();
  w.lag = w.hidden = true;
  await w.push(data(Buffer.alloc(20_000, 65)), data("x"));
  assert.deepEqual(w.pipe.of(0x28).map((m) => m.get(1)), [20_000, 20_001]);
  for (let i = 0; i < 220; i++) await w.push(data(Buffer.alloc(20_000, 65)));
  assert.equal(w.pipe.of(0x28).at(-1).get(1) > 4_100_000 && w.pipe.of(0x28).at(-1).get(1) < 4_220_000, true);
  w.hidden = false;
  for (const shown of w.pending.splice(0)) shown();
  await w.clock.pass(60);
  assert.equal(w.pipe.of(0x28).at(-1).get(1), 221 * 20_000 + 1);
  w.link.close();
  await w.done;
});

test("what is left out is replaced by the screen, and output goes on behind it", async () => {
  const w = new World();
  await w.attach();
  assert.deepEqual([w.pipe.got[0][1].get(5), w.pipe.got[0][1].get(6)], [true, true]);
  w.lag = true;
  await w.push(data("one"), message(0x2a, [[1, Buffer.from("SC")], [2, 1000], [3, true]]), message(0x2a, [[1, Buffer.from("REEN")], [2, 1000]]), data("$ "));
  assert.deepEqual(w.pipe.of(0x28), []);
  for (const shown of w.pending.splice(0)) shown();
  await w.clock.pass(60);
  assert.equal(w.screen, "oneSCREEN$ ");
  assert.deepEqual(w.pipe.of(0x28).map((m) => m.get(1)), [1000, 1002]);
  w.lag = false;
  await w.cut();
  await w.clock.pass(0);
  await settle();
  assert.equal(w.pipe.got[0][1].get(2), 1002);
  w.link.close();
  await w.done;
  const not = new World();
  not.skips = false;
  await not.attach();
  assert.equal(not.pipe.got[0][1].has(5), false);
  not.link.close();
  await not.done;
});

test("input is sent again from where the relay says", async () => {
  const w = new World();
  await w.attach();
  w.type("abc");
  w.type("def");
  await settle();
  await w.push(ack(2));
  await w.cut();
  await w.clock.pass(0);
  await w.attach({ typed: 4 });
  assert.equal(w.pipe.typed, "ef");
  w.type("g");
  await settle();
  assert.equal(w.pipe.typed, "efg");
  await w.push(ack(7));
  await w.cut();
  await w.clock.pass(500);
  await w.attach({ typed: 7 });
  assert.equal(w.pipe.typed, "");
  assert.deepEqual(w.notices, []);
  w.link.close();
  await w.done;
});

test("when nobody knows what arrived, nothing is sent twice, and the person hears of it", async () => {
  const w = new World();
  await w.attach();
  w.type("abc");
  await settle();
  await w.push(ack(2));
  await w.cut();
  await w.clock.pass(0);
  await w.attach({ typed: 0 });
  assert.equal(w.pipe.typed, "");
  assert.equal(w.notices.length, 1);
  w.type("z");
  await settle();
  assert.equal(w.pipe.typed, "z");
  w.link.close();
  await w.done;
});

test("what is typed without a connection waits, up to 4 KiB, and can be discarded", async () => {
  const w = new World();
  await w.attach();
  w.type("sent");
  await settle();
  w.dialError = Problem.of("relay_unreachable");
  await w.cut();
  await w.clock.pass(600);
  assert.equal(w.state, "waiting");
  w.type("held");
  assert.equal(w.link.heldKeys, 1);
  assert.equal(w.link.held, 8);
  w.type("x".repeat(4090));
  assert.equal(w.refused.length, 0);
  w.type("xyz");
  assert.equal(w.refused.length, 1);
  w.dialError = undefined;
  w.link.nudge();
  await w.attach({ typed: 0 });
  assert.equal(w.pipe.typed, "sentheld" + "x".repeat(4090));

  await w.cut();
  w.type("no");
  w.link.discard();
  assert.equal(w.link.held, 0);
  await w.clock.pass(2000);
  await w.attach({ typed: 8 });
  assert.equal(w.pipe.typed, "");
  assert.deepEqual(w.notices, []);
  w.type("y");
  await settle();
  assert.equal(w.pipe.typed, "y");
  w.link.close();
  await w.done;
});

test("input is never more than the window ahead", async () => {
  const w = new World();
  await w.attach({ window: 1000 });
  w.link.insert(new Paste("p".repeat(5000), false));
  await settle();
  assert.ok(w.pipe.typed.length <= 1000 && w.pipe.typed.length > 990, String(w.pipe.typed.length));
  for (let taken = 0; taken < 5000; ) {
    taken = w.pipe.typed.length;
    await w.push(ack(taken));
  }
  assert.equal(w.pipe.typed, "p".repeat(5000));
  assert.equal(w.link.paste, undefined);
  w.link.close();
  await w.done;
});

test("a paste goes on after a reconnect, and Ctrl-C ends it", async () => {
  const w = new World();
  await w.attach({ window: 1000 });
  w.link.insert(new Paste("0123456789".repeat(400), true));
  await settle();
  const before = w.pipe.typed;
  await w.push(ack(500));
  await w.cut();
  await w.clock.pass(0);
  await w.attach({ typed: 700, window: 1000 });
  const all = before.slice(0, 700) + w.pipe.typed;
  assert.ok(("\x1b[200~" + "0123456789".repeat(400)).startsWith(all), "nothing is lost or sent twice");
  w.type("\x03");
  await w.push(ack(700 + w.pipe.typed.length));
  assert.ok(w.pipe.typed.endsWith("\x1b[201~\x03"));
  w.link.close();
  await w.done;
});

test("answers to questions in history are not sent; keys are", async () => {
  const w = new World();
  await w.attach({ offset: 0, head: 4 });
  w.lag = true;
  await w.push(data("1234live"));
  assert.equal(w.pending.length, 2); // cut at the head
  assert.equal(w.link.history, true);
  w.link.reply(utf8("\x1b[0n"));
  w.type("k");
  w.pending.shift()();
  assert.equal(w.link.history, false);
  w.link.reply(utf8("\x1b[1;1R"));
  await settle();
  assert.equal(w.pipe.typed, "k\x1b[1;1R");
  w.link.close();
  await w.done;
});

test("a silent connection is dead after 6 s, and the next tries come ever later", async () => {
  const w = new World();
  await w.attach();
  await w.clock.pass(2500);
  const pings = w.pipe.of(0x04);
  assert.ok(pings.length >= 2);
  await w.push(message(0x05, [[1, pings.at(-1).get(1)]]));
  assert.ok(w.link.rtt >= 0);
  await w.clock.pass(5500);
  assert.equal(w.pipes.length, 1);
  w.dialError = Problem.of("relay_unreachable");
  await w.clock.pass(2000);
  assert.equal(w.lost, 1);
  const waits = [];
  for (let i = 0; i < 7; i++) {
    await settle();
    if (w.state !== "waiting") await w.clock.pass(1);
    const wait = w.link.state.until - w.clock.now();
    waits.push(Math.round(wait / 100) / 10);
    await w.clock.pass(wait + 1);
  }
  assert.equal(waits.at(-1), 10);
  assert.deepEqual([...waits].sort((a, b) => a - b), waits);
  w.link.close();
  await w.done;
});

test("a page that slept asks before it gives up", async () => {
  const w = new World();
  await w.attach();
  await w.push(message(0x05, [[1, 1]]));
  w.clock.t += 60_000; // no timer ran meanwhile
  await w.clock.pass(1000);
  assert.equal(w.state, "attached");
  await w.push(message(0x05, [[1, w.pipe.of(0x04).at(-1).get(1)]]));
  assert.equal(w.pipes.length, 1);
  w.link.close();
  await w.done;
});

test("taken over: nothing is typed until it is taken back", async () => {
  const w = new World();
  await w.attach();
  await w.push(exit(122));
  assert.equal(w.state, "elsewhere");
  w.type("x");
  assert.equal(w.refused.length, 1);
  await w.clock.pass(60_000);
  assert.equal(w.pipes.length, 1);
  w.link.again();
  await w.attach();
  assert.equal(w.state, "attached");
  w.link.close();
  await w.done;
});

test("the end: by Exit, by a session that is gone, by what only a person can mend", async () => {
  const w = new World();
  await w.attach();
  await w.push(exit(0, { status: 3 }), data("too late"));
  await w.done;
  assert.deepEqual([w.state, w.link.state.exit.status, w.screen], ["ended", 3, ""]);

  const gone = new World(new Problem("not_found", 404, "There is no such thing."));
  await gone.done;
  assert.equal(gone.link.state.exit.code, 83);

  const out = new World(Problem.of("signed_out", "", 401));
  await settle();
  assert.equal(out.state, "stopped");
  out.attachError = undefined;
  out.link.again();
  await out.attach();
  assert.equal(out.state, "attached");
  await out.push(rawFrame(0x01, Buffer.alloc(0)));
  assert.equal(out.link.state.problem.code, "protocol_error");
  out.link.close();
  await out.done;
});

test("a ticket that came too late is replaced", async () => {
  const w = new World();
  await settle();
  await w.push(message(0x12, [[1, 123], [2, ""]]));
  await w.clock.pass(0);
  assert.equal(w.pipes.length, 2);
  await w.attach();
  assert.equal(w.state, "attached");
  w.link.close();
  await w.done;
});

test("a watcher types nothing and follows the owner's size", async () => {
  const w = new World();
  await w.attach({ watching: true });
  assert.deepEqual(w.followed, { cols: 80, rows: 24 });
  w.type("x");
  w.link.reply(utf8("\x1b[0n"));
  w.link.resized({ cols: 10, rows: 10 });
  await settle();
  assert.equal(w.pipe.typed, "");
  assert.deepEqual(w.pipe.of(0x23), []);
  await w.push(message(0x23, [[1, new Map([[1, 132], [2, 43]])]]), message(0x29, [[1, ["bea"]]]));
  assert.deepEqual(w.followed, { cols: 132, rows: 43 });
  assert.deepEqual(w.link.watchers, ["bea"]);
  w.link.close();
  await w.done;
});

test("a size is told before what is typed after it", async () => {
  const w = new World();
  await w.attach();
  w.link.resized({ cols: 90, rows: 30 });
  w.link.resized({ cols: 100, rows: 30 });
  w.type("stty size\r");
  await settle();
  const kinds = w.pipe.got.map(([type]) => type);
  assert.equal(w.pipe.of(0x23).length, 2);
  assert.ok(kinds.lastIndexOf(0x23) < kinds.indexOf(0x22), String(kinds));
  assert.equal(w.pipe.typed, "stty size\r");
  w.link.close();
  await w.done;
});

test("of many sizes at most ten a second are told, the last one always", async () => {
  const w = new World();
  await w.attach();
  for (let i = 1; i <= 1000; i++) {
    w.link.resized({ cols: i, rows: 5000 });
    if (i % 10 === 0) await w.clock.pass(10);
  }
  await w.clock.pass(200);
  const sizes = w.pipe.of(0x23).map((m) => [m.get(1).get(1), m.get(1).get(2)]);
  assert.ok(sizes.length <= 12, String(sizes.length));
  assert.deepEqual(sizes.at(-1), [1000, 1000]);
  w.link.close();
  await w.done;
});

test("a shell that does not read gets no more than a window ahead, over all connections", async () => {
  const w = new World();
  await w.attach({ window: 100 });
  for (let i = 0; i < 3; i++) w.type("x".repeat(60));
  await settle();
  assert.equal(w.pipe.typed.length, 100);
  await w.cut();
  await w.clock.pass(1000);
  await w.attach({ window: 100, typed: 100 }); // the relay has it, and the shell takes nothing
  assert.equal(w.pipe.typed, "");
  await w.push(ack(30));
  assert.equal(w.pipe.typed.length, 30);
  w.link.close();
  await w.done;
});

test("who comes back by itself takes nothing away from another window", async () => {
  const w = new World();
  await w.attach();
  assert.equal(w.pipe.got[0][1].has(9), false);
  await w.cut();
  await w.clock.pass(1000);
  await settle();
  assert.equal(w.pipe.got[0][1].get(9), true);
  await w.push(message(0x12, [[1, 122], [2, ""]])); // refused: taken over
  assert.equal(w.state, "elsewhere");
  w.link.again(); // a person wants it
  await settle();
  assert.equal(w.pipe.got[0][1].has(9), false);
  w.link.close();
  await w.done;
});

const aside = (o) => message(0x39, [[1, o.n], ...(o.ticket ? [[2, o.ticket]] : []), ...(o.used ? [[3, true]] : []), ...(o.over ? [[4, true]] : [])]);
const laneTicket = new Uint8Array(32).fill(7);
const notice = (text) => message(0x25, [[1, 0], [2, text]]);

test("output comes over a lane and back, in its order, and keys do not leave the stream", async () => {
  const lanes = [];
  const w = new World();
  w.beside = () => {
    const p = new Pipe();
    lanes.push(p);
    return Promise.resolve(p);
  };
  await w.attach();
  w.pipe.kind = "WebTransport";
  assert.equal(w.pipe.of(0x27)[0].get(11), true);
  await w.push(data("one "), aside({ n: 1, ticket: laneTicket }));
  assert.deepEqual([...lanes[0].of(0x27)[0].get(1)], [...laneTicket]);
  assert.equal(w.link.transport, "WebTransport");
  // What comes over it before its turn waits for what was sent before.
  lanes[0].push(data("three "), notice("said"));
  await settle();
  assert.equal(w.screen, "one ");
  await w.push(data("two "), aside({ n: 1, used: true }));
  assert.equal(w.screen, "one two three ");
  assert.deepEqual(w.notices, ["said"]);
  assert.equal(w.link.transport, "WebTransport + WebSocket");
  w.type("abc");
  await w.clock.pass(10);
  assert.equal(w.pipe.typed, "abc");
  const acked = w.pipe.of(0x28).at(-1);
  assert.deepEqual([acked.get(1), acked.get(2)], [14, 2]);
  assert.equal(lanes[0].of(0x28).length, 0);
  // It is kept open, and breaks in the middle of a frame: the relay hears what came whole.
  await w.push(message(0x05, [[1, w.pipe.of(0x04).at(-1).get(1)]]));
  for (let i = 0; i < 31; i++) {
    await w.clock.pass(1000);
    await w.push(message(0x05, [[1, w.pipe.of(0x04).at(-1).get(1)]]));
  }
  assert.ok(lanes[0].of(0x04).length > 0);
  const cut = data("five ");
  lanes[0].push(data("four "), cut.slice(0, 4));
  await settle();
  lanes[0].close();
  await settle();
  assert.deepEqual([...w.pipe.of(0x39).at(-1)], [[1, 1], [4, true], [5, 3]]);
  assert.equal(w.link.transport, "WebTransport");
  await w.push(aside({ n: 1, over: true })); // the relay noticed too: it has its answer
  assert.equal(w.pipe.of(0x39).length, 1);
  await w.push(cut);
  assert.equal(w.screen, "one two three four five ");
  // Another one, which the relay calls back before it was used.
  await w.push(aside({ n: 2, ticket: laneTicket }), aside({ n: 2, over: true }));
  assert.ok(lanes[1].closed);
  assert.deepEqual([...w.pipe.of(0x39).at(-1)], [[1, 2], [4, true], [5, 0]]);
  // And one that is refused.
  await w.push(aside({ n: 3, ticket: laneTicket }));
  lanes[2].push(refused(75));
  await settle();
  assert.ok(lanes[2].closed);
  assert.deepEqual([...w.pipe.of(0x39).at(-1)], [[1, 3], [4, true], [5, 0]]);
  assert.equal(w.state, "attached");
  // One that is there when the link is over goes with it.
  await w.push(aside({ n: 4, ticket: laneTicket }), aside({ n: 4, used: true }));
  w.link.close();
  await w.done;
  assert.ok(lanes[3].closed);
});

test("a lane that does not open is told, and nothing else changes", async () => {
  const w = new World();
  w.beside = () => Promise.reject(new Error("no way"));
  await w.attach();
  await w.push(aside({ n: 1, ticket: laneTicket }));
  assert.deepEqual([...w.pipe.of(0x39).at(-1)], [[1, 1], [4, true], [5, 0]]);
  await w.push(data("on"));
  assert.equal(w.screen, "on");
  w.link.close();
  await w.done;
});

test("a lane on which the relay says what it must not ends the link", async () => {
  const w = new World();
  const lane = new Pipe();
  w.beside = () => Promise.resolve(lane);
  await w.attach();
  await w.push(aside({ n: 1, ticket: laneTicket }), aside({ n: 1, used: true }));
  lane.push(rawFrame(0x3f, Uint8Array.of(1)));
  await settle();
  assert.equal(w.state, "stopped");
  w.link.close();
  await w.done;
});
