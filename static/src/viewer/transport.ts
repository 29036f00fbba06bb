import type { Opening } from "../api/model";
import { Problem } from "../api/problem";
import type { Better } from "./lifeline";

/** Duplex is one stream of bytes to the relay, whatever carries it. */
export interface Duplex {
  readonly kind: "WebTransport" | "WebSocket";
  /** receive gives the bytes that came, undefined at the stream's end, and throws when it broke. */
  receive(): Promise<Uint8Array | undefined>;
  /** send queues bytes, in order; what may wait here is bounded by the link's windows. */
  send(b: Uint8Array<ArrayBuffer>): void;
  /** drained resolves when little waits to be sent. */
  drained(): Promise<void>;
  /** backlog is about how many bytes wait to be sent. */
  readonly backlog: number;
  /** close lets go of it: not an end of input, which would end the session. */
  close(): void;
}

const headStart = 250; // ms that WebTransport has before WebSocket begins
const readyTime = 10_000; // ms for either
const shortLife = 10_000; // ms: a WebTransport that dies younger is not tried again at once
const avoidFor = 5 * 60_000; // ms; Chromium makes a page wait ever longer after failures
const againAfter = 10_000; // ms from a failure to the next try in what may be another network, doubling with each
const againAtMost = 16 * 60_000; // ms
const avoidKey = "scrier.webtransport.avoid"; // sessionStorage: the time until which
const lowWater = 64 << 10; // bytes waiting in a WebSocket below which more may be sent
const readSize = 64 << 10;

/** Dialer opens the first transport that gets through. */
export class Dialer implements Better {
  private readonly born = new WeakMap<Duplex, number>();
  private failedAt = -Infinity; // WebTransport, the last time
  private movedAt = -Infinity; // the network, perhaps
  private wait = againAfter;

  async open(o: Opening, signal: AbortSignal): Promise<Duplex> {
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal, AbortSignal.timeout(readyTime)]);
    const wanted = this.webTransportWanted();
    const tries: Promise<Duplex>[] = [];
    let early = () => {};
    if (wanted) {
      const wt = openWebTransport(o, both);
      tries.push(wt);
      wt.catch(() => {
        if (!signal.aborted) this.avoid();
        early();
      });
    }
    tries.push((async () => {
      if (wanted) {
        await new Promise<void>((done) => {
          early = done;
          setTimeout(done, headStart);
        });
      }
      return openWebSocket(o, both);
    })());
    let first: Duplex;
    try {
      first = await Promise.any(tries);
    } catch {
      throw Problem.of("relay_unreachable", "Neither WebTransport nor WebSocket reached it.");
    } finally {
      // Whoever comes second closes itself.
      for (const t of tries) t.then((d) => d !== first && d.close(), () => {});
    }
    // The loser is still opening: end it. The winner has let go of the signal.
    stop.abort();
    if (wanted && first.kind === "WebSocket") this.avoid();
    this.born.set(first, performance.now());
    return first;
  }

  /** beside opens a connection over TCP for the output of a link over WebTransport. */
  beside(o: Opening): Promise<Duplex> {
    return openWebSocket(o, AbortSignal.timeout(readyTime));
  }

  /** lost says that a link over d broke: a young WebTransport is a path that does not carry it. */
  lost(d: Duplex): void {
    if (d.kind === "WebTransport" && performance.now() - (this.born.get(d) ?? 0) < shortLife) this.avoid();
  }

  /** moved implements {@link Better}. Some browsers say so whenever the network's speed is another one. */
  moved(): void {
    this.movedAt = performance.now();
  }

  /** due implements {@link Better}: WebSocket is what is left where WebTransport does not get through. */
  due(d: Duplex): number | undefined {
    if (d.kind !== "WebSocket" || !this.webTransportWanted()) return undefined;
    return Math.max(this.failedAt + this.wait - performance.now(), 0);
  }

  /** again implements {@link Better}. */
  async again(o: Opening, signal: AbortSignal): Promise<Duplex> {
    try {
      const d = await openWebTransport(o, AbortSignal.any([signal, AbortSignal.timeout(readyTime)]));
      this.wait = againAfter;
      this.born.set(d, performance.now());
      return d;
    } catch (err) {
      if (!signal.aborted) this.avoid();
      throw err;
    }
  }

  private webTransportWanted(): boolean {
    if (!("WebTransport" in globalThis)) return false;
    if (this.movedAt > this.failedAt) return true;
    try {
      return Number(sessionStorage.getItem(avoidKey) ?? 0) < Date.now();
    } catch {
      return true; // storage is switched off
    }
  }

  private avoid(): void {
    const now = performance.now();
    if (now - this.failedAt < this.wait) return this.remember(); // one failure, of which two tell
    if (this.failedAt > -Infinity) this.wait = Math.min(2 * this.wait, againAtMost);
    this.failedAt = now;
    this.remember();
  }

  private remember(): void {
    try {
      sessionStorage.setItem(avoidKey, String(Date.now() + avoidFor));
    } catch {
      // then each attempt costs the head start
    }
  }
}

async function openWebTransport(o: Opening, signal: AbortSignal): Promise<Duplex> {
  signal.throwIfAborted();
  const options: WebTransportOptions = { congestionControl: "low-latency", requireUnreliable: false };
  if (o.cert_hashes && o.cert_hashes.length > 0) {
    options.serverCertificateHashes = o.cert_hashes.map((h) => ({ algorithm: "sha-256", value: Uint8Array.from(atob(h), (c) => c.charCodeAt(0)) }));
  }
  const wt = new WebTransport(absolute(o.wt, "https:"), options);
  const abort = () => wt.close();
  signal.addEventListener("abort", abort);
  wt.closed.catch(() => {}); // what happens to it, the stream tells as well
  try {
    await wt.ready;
    const stream = await wt.createBidirectionalStream();
    signal.throwIfAborted();
    return new WebTransportDuplex(wt, stream);
  } catch (err) {
    try {
      wt.close();
    } catch {
      // it never was open
    }
    throw err;
  } finally {
    signal.removeEventListener("abort", abort);
  }
}

class WebTransportDuplex implements Duplex {
  readonly kind = "WebTransport";
  private readonly writer: WritableStreamDefaultWriter<Uint8Array<ArrayBuffer>>;
  private readonly read: () => Promise<Uint8Array | undefined>;
  backlog = 0;

  constructor(private readonly wt: WebTransport, stream: WebTransportBidirectionalStream) {
    this.writer = stream.writable.getWriter();
    this.writer.closed.catch(() => {});
    this.read = reading(stream.readable as ReadableStream<Uint8Array>);
  }

  receive() {
    return this.read();
  }

  send(b: Uint8Array<ArrayBuffer>): void {
    const gone = () => (this.backlog -= b.length);
    this.backlog += b.length;
    this.writer.write(b).then(gone, gone); // receive tells of a broken stream
  }

  async drained(): Promise<void> {
    await this.writer.ready;
  }

  close(): void {
    try {
      this.wt.close();
    } catch {
      // closed already
    }
  }
}

// reading prefers a reader that fills our buffer: it makes no garbage for each piece.
function reading(stream: ReadableStream<Uint8Array>): () => Promise<Uint8Array | undefined> {
  let byob: ReadableStreamBYOBReader;
  try {
    byob = stream.getReader({ mode: "byob" });
  } catch {
    const plain = stream.getReader();
    return async () => (await plain.read()).value;
  }
  let buffer = new ArrayBuffer(readSize);
  return async () => {
    const { value, done } = await byob.read(new Uint8Array(buffer));
    if (done || !value) return undefined;
    buffer = value.buffer as ArrayBuffer; // the frame reader copies what it keeps
    return value;
  };
}

function openWebSocket(o: Opening, signal: AbortSignal): Promise<Duplex> {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason);
    const ws = new WebSocket(absolute(o.ws, "wss:"));
    ws.binaryType = "arraybuffer";
    const fail = () => {
      signal.removeEventListener("abort", fail);
      ws.onopen = ws.onclose = null;
      ws.close();
      reject(new Error("the WebSocket did not open"));
    };
    signal.addEventListener("abort", fail);
    ws.onclose = fail;
    ws.onopen = () => {
      signal.removeEventListener("abort", fail);
      resolve(new WebSocketDuplex(ws));
    };
  });
}

class WebSocketDuplex implements Duplex {
  readonly kind = "WebSocket";
  private readonly queue: Uint8Array[] = []; // bounded by the link's window
  private wake: (() => void) | undefined;
  private over = false;

  constructor(private readonly ws: WebSocket) {
    ws.onmessage = (e: MessageEvent<unknown>) => {
      if (e.data instanceof ArrayBuffer) this.queue.push(new Uint8Array(e.data));
      else ws.close(); // text: not our relay
      this.wake?.();
    };
    ws.onclose = () => {
      this.over = true;
      this.wake?.();
    };
  }

  async receive(): Promise<Uint8Array | undefined> {
    while (this.queue.length === 0) {
      if (this.over) return undefined;
      await new Promise<void>((done) => (this.wake = done));
      this.wake = undefined;
    }
    return this.queue.shift();
  }

  send(b: Uint8Array<ArrayBuffer>): void {
    if (this.ws.readyState === WebSocket.OPEN) this.ws.send(b);
  }

  get backlog(): number {
    return this.ws.bufferedAmount;
  }

  async drained(): Promise<void> {
    // WebSocket has no event for this.
    while (!this.over && this.ws.bufferedAmount > lowWater) await new Promise((done) => setTimeout(done, 10));
  }

  close(): void {
    this.over = true; // its event may come much later, on a path that is dead
    this.queue.length = 0;
    this.ws.close();
    this.wake?.();
  }
}

// absolute accepts an address or a path of the relay's, and nothing that is not encrypted.
function absolute(address: string, protocol: "https:" | "wss:"): string {
  const u = new URL(address, location.origin);
  u.protocol = protocol;
  return u.href;
}
