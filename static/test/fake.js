import { FrameReader } from "../src/wire/frames";
import { appendVarint } from "../src/wire/varint";
import { decode, encode } from "cborg";

/** Time stands still until it is told to go on. */
export class FakeClock {
  t = 0;
  timers = [];
  now = () => this.t;
  after = (ms, f) => {
    const timer = { at: this.t + ms, f };
    this.timers.push(timer);
    return () => (this.timers = this.timers.filter((x) => x !== timer));
  };

  /** pass lets ms go by; what is due happens in order, with all that follows from it. */
  async pass(ms) {
    const end = this.t + ms;
    await settle();
    for (;;) {
      const due = this.timers.filter((x) => x.at <= end).sort((a, b) => a.at - b.at)[0];
      if (!due) break;
      this.timers = this.timers.filter((x) => x !== due);
      this.t = Math.max(this.t, due.at);
      due.f();
      await settle();
    }
    this.t = end;
  }
}

/** settle waits until no promise has anything to do. */
export async function settle() {
  for (let i = 0; i < 40; i++) await Promise.resolve();
}

export function rawFrame(type, payload) {
  const head = [];
  appendVarint(head, type);
  appendVarint(head, payload.length);
  return Uint8Array.from([...head, ...payload]);
}

export const message = (type, entries) => rawFrame(type, encode(new Map(entries)));

/** Pipe is a transport whose other end is the test: it plays the relay. */
export class Pipe {
  kind = "WebSocket";
  queue = [];
  closed = false;
  got = []; // [type, value] of each frame that the page sent
  blocked = undefined;

  receive() {
    if (this.queue.length > 0) return Promise.resolve(this.queue.shift());
    if (this.closed) return Promise.resolve(undefined);
    return new Promise((done) => (this.wake = () => done(this.queue.shift())));
  }

  send(b) {
    for (let at = 0; at < b.length; ) {
      const one = (o) => {
        const n = 1 << (b[o] >> 6);
        let v = b[o] & 0x3f;
        for (let i = 1; i < n; i++) v = v * 256 + b[o + i];
        return [v, o + n];
      };
      const [type, o] = one(at);
      const [length, p] = one(o);
      const payload = b.slice(p, p + length);
      at = p + length;
      this.got.push([type, type === 0x22 || payload.length === 0 ? payload : decode(payload, { useMaps: true })]);
    }
  }

  drained() {
    return this.blocked ?? Promise.resolve();
  }

  close() {
    this.closed = true;
    this.wake?.();
  }

  push(...frames) {
    this.queue.push(...frames);
    this.wake?.();
    this.wake = undefined;
  }

  /** typed is all the input that came, as text. */
  get typed() {
    return this.got.filter(([t]) => t === 0x22).map(([, b]) => new TextDecoder().decode(b)).join("");
  }

  of(type) {
    return this.got.filter(([t]) => t === type).map(([, v]) => v);
  }
}

export function attached(o = {}) {
  return message(0x21, [
    [1, new Uint8Array(16).fill(1)], [2, "web-01"], [3, "ann"], [4, o.offset ?? 0], [5, o.head ?? o.offset ?? 0], [6, o.typed ?? 0], [7, o.window ?? 262144],
    [8, o.watching ?? false], [9, new Map([[1, 80], [2, 24]])], [10, new Uint8Array(16).fill(2)], [11, o.kind ?? "ssh"],
    ...(o.desktop === undefined ? [] : [[12, o.desktop]]),
    ...(o.rights === undefined ? [] : [[16, o.rights]]),
  ]);
}

export const data = (s) => rawFrame(0x22, typeof s === "string" ? new TextEncoder().encode(s) : s);
export { FrameReader };
