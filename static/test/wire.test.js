import assert from "node:assert/strict";
import { test } from "node:test";
import { encode } from "cborg";
import { codeNamed, codeOf } from "../src/wire/codes";
import { FrameReader, maxControl, maxData, ProtocolError } from "../src/wire/frames";
import { encodeAck, encodeAnswer, encodeAside, encodeAttach, encodeEOF, encodeGiveUp, encodeResize, parse } from "../src/wire/messages";
import { appendVarint, readVarint, varintSize } from "../src/wire/varint";
import { attached, message, rawFrame } from "./fake";

const hex = (b) => Buffer.from(b).toString("hex");
const read = (...chunks) => {
  const r = new FrameReader();
  const out = [];
  for (const c of chunks) r.push(c, (f) => out.push(f));
  return out;
};

test("varints of RFC 9000 come and go", () => {
  for (const [n, want] of [[0, "00"], [37, "25"], [63, "3f"], [64, "4040"], [15293, "7bbd"], [494878333, "9d7f3e7d"], [1073741823, "bfffffff"], [1073741824, "c000000040000000"], [Number.MAX_SAFE_INTEGER, "c01fffffffffffff"]]) {
    const b = [];
    appendVarint(b, n);
    assert.equal(hex(b), want);
    assert.equal(readVarint(Uint8Array.from(b), 0), n);
    assert.equal(varintSize(b[0]), b.length);
  }
});

test("frames are the same however the bytes are cut", () => {
  const stream = Buffer.concat([rawFrame(0x22, Buffer.from("hello")), rawFrame(0x45, Buffer.alloc(300)), message(0x28, [[1, 70000]]), rawFrame(0x22, Buffer.alloc(0)), rawFrame(0x22, Buffer.alloc(maxData, 7))]);
  const whole = read(stream);
  assert.deepEqual(whole.map((f) => [f.type, f.payload.length]), [[0x22, 5], [0x28, 7], [0x22, 0], [0x22, maxData]]);
  for (const size of [1, 2, 3, 7, 1000]) {
    const chunks = [];
    for (let at = 0; at < stream.length; at += size) chunks.push(stream.subarray(at, at + size));
    assert.deepEqual(read(...chunks), whole);
  }
});

test("a payload does not change with the buffer it came from", () => {
  const b = rawFrame(0x22, Buffer.from("abc"));
  const [f] = read(b);
  b.fill(0);
  assert.equal(Buffer.from(f.payload).toString(), "abc");
});

test("frames that the relay must not send end the connection", () => {
  for (const b of [
    rawFrame(0x22, Buffer.alloc(maxData + 1)), // too long
    Uint8Array.from([0x28, 0xc0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0xff]), // a length of gigabytes: before any byte of it
    Uint8Array.from([0x40, 0x40, 0x80, 1, 0, 1]), // to be skipped, but too long
    rawFrame(0x3f, Buffer.alloc(0)), // unknown and fatal
    rawFrame(0x27, Buffer.alloc(0)), // ours
  ]) assert.throws(() => read(b), ProtocolError);
  assert.throws(() => read(Buffer.concat(Array.from({ length: 17 }, () => rawFrame(0x41, Buffer.alloc(1))))), ProtocolError);
  assert.equal(read(rawFrame(0x26, Buffer.alloc(maxControl)))[0].payload.length, maxControl);
});

test("messages of the page have the layout of wire/message.go", () => {
  const ticket = new Uint8Array(32).fill(0xaa);
  const client = new Uint8Array(16).fill(0xbb);
  const size = { cols: 80, rows: 24 };
  assert.equal(hex(encodeAttach({ ticket, from: 5, size, client })), `274040a4015820${"aa".repeat(32)}020503a20118500218180450${"bb".repeat(16)}`);
  assert.equal(hex(encodeAttach({ ticket, size, client })), `273ea3015820${"aa".repeat(32)}03a20118500218180450${"bb".repeat(16)}`);
  assert.equal(hex(encodeAttach({ ticket, size, client, skip: true, prompt: true })), `274042a5015820${"aa".repeat(32)}03a20118500218180450${"bb".repeat(16)}05f506f5`);
  assert.equal(hex(encodeAttach({ ticket, size, client, paint: true })), `274040a4015820${"aa".repeat(32)}03a20118500218180450${"bb".repeat(16)}07f5`);
  assert.equal(hex(encodeAttach({ ticket, size, client, answers: true })), `274040a4015820${"aa".repeat(32)}03a20118500218180450${"bb".repeat(16)}08f5`);
  assert.equal(hex(encodeAnswer(7, [Uint8Array.of(0x68, 0x69), new Uint8Array(0)])), "2e09a20107028242686940");
  assert.equal(hex(encodeGiveUp()), "2e03a103f5");
  assert.equal(hex(encodeResize({ cols: 1e9, rows: 0 })), "2309a101a2011903e80201");
  assert.equal(hex(encodeAck(2 ** 33)), "280ba1011b0000000200000000");
  assert.equal(hex(encodeAck(5, 7)), "2805a201050207");
  assert.equal(hex(encodeAside(1, 7)), "3907a3010104f50507");
  assert.equal(hex(encodeAttach({ ticket, size, client, asides: true })), `274040a4015820${"aa".repeat(32)}03a20118500218180450${"bb".repeat(16)}0bf5`);
  assert.equal(hex(encodeEOF()), "2400");
});

test("messages of the relay", () => {
  const one = (b) => parse(read(b)[0]);
  assert.deepEqual(one(message(0x39, [[1, 2], [2, Uint8Array.of(9)]])), { type: "aside", n: 2, ticket: Uint8Array.of(9), used: false, over: false });
  assert.deepEqual(one(message(0x39, [[1, 2], [3, true], [4, true]])), { type: "aside", n: 2, ticket: new Uint8Array(0), used: true, over: true });
  assert.deepEqual(one(attached({ offset: 7, head: 9, typed: 3 })), {
    type: "attached", session: "01010101-0101-0101-0101-010101010101", envoy: "web-01", login: "ann", offset: 7, head: 9, typed: 3, window: 262144,
    watching: false, size: { cols: 80, rows: 24 }, envoyID: "02020202-0202-0202-0202-020202020202", kind: "ssh", desktop: undefined, rights: [],
  });
  assert.deepEqual(one(attached({ rights: ["shell", "upload"] })).rights, ["shell", "upload"]);
  const desktop = (v) => one(attached({ kind: "vnc", desktop: v })).desktop;
  assert.equal(desktop(null), undefined);
  assert.deepEqual(desktop(new Map([[1, true], [4, true], [6, true]])), { toEnvoy: true, fromEnvoy: false, upload: false, download: true, audio: false, view: true, console: false });
  assert.throws(() => desktop(new Map([[1, 1]])), ProtocolError);
  assert.throws(() => desktop([]), ProtocolError);
  assert.deepEqual(one(message(0x29, [[1, null]])), { type: "watchers", names: [] });
  assert.deepEqual(one(message(0x2a, [[1, Buffer.from("x")], [2, 9], [3, true]])), { type: "skip", screen: Uint8Array.from([0x78]), to: 9, more: true });
  assert.throws(() => one(message(0x2a, [[1, "text"]])), ProtocolError);
  assert.deepEqual(one(message(0x2c, [[1, "web1"], [2, "ann"], [3, "hello"]])), { type: "said", envoy: "web1", login: "ann", text: "hello" });
  const q = (text, echo) => new Map([[1, text], ...(echo ? [[2, true]] : [])]);
  assert.deepEqual(one(message(0x2d, [[1, 3], [2, "web1"], [3, "ann"], [4, "please"], [5, [q("Code:"), q("Name:", true)]], [7, true]])), {
    type: "ask", id: 3, envoy: "web1", login: "ann", text: "please", questions: [{ text: "Code:", echo: false }, { text: "Name:", echo: true }], password: false, again: true,
  });
  for (const bad of [undefined, [], [1], [q(1)], Array.from({ length: 33 }, () => q("x")), "x"]) {
    assert.throws(() => one(message(0x2d, bad === undefined ? [[1, 3]] : [[1, 3], [5, bad]])), ProtocolError);
  }
  assert.deepEqual(one(message(0x26, [[1, 122], [99, "later"]])), { type: "exit", code: 122, detail: "", status: 0, signal: "" });
});

test("CBOR that is not strict is refused", () => {
  for (const h of [
    "", "a1", "a10100ff", // nothing, cut, bytes behind
    "a201000100", // a key twice
    "bf0100ff", "a1015fff", // indefinite
    "a101c100", // a tag
    "a1011800", // not the shortest
    "a10120", "a101f93e00", "a10161", "a1016130", "80", "a1011bffffffffffffffff", // negative, float, cut, text, list, too large
    "81".repeat(60000),
  ]) assert.throws(() => parse({ type: 0x28, payload: Buffer.from(h, "hex") }), ProtocolError, h);
  assert.throws(() => parse({ type: 0x29, payload: encode(new Map([[1, [1]]])) }), ProtocolError);
});

test("codes", () => {
  assert.equal(codeOf(122).name, "taken_over");
  assert.equal(codeNamed("taken_over")?.number, 122);
  assert.equal(codeOf(9999).name, "code_9999");
  assert.equal(codeOf(9999).meaning, "an error that this version does not know");
  assert.equal(codeOf(499).meaning, "an error that this version does not know: a policy, a role or a person does not allow it");
});
