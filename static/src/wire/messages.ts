import { decode, encode } from "cborg";
import { encodeFrame, frame, ProtocolError, type Frame } from "./frames";

// The messages of a viewer, see wire/message.go. Their CBOR is strict: no tags, no indefinite
// lengths, no key twice, nothing behind; unknown keys are ignored.

export interface Size {
  cols: number;
  rows: number;
}

/** clamp bounds a size to 1–1000 whole characters each way. */
export function clamp(s: Size): Size {
  const one = (n: number) => (Number.isFinite(n) ? Math.min(Math.max(Math.floor(n), 1), 1000) : 1);
  return { cols: one(s.cols), rows: one(s.rows) };
}

export interface Attached {
  type: "attached";
  session: string; // a UUID
  envoy: string; // its hostname
  login: string;
  offset: number; // of the first byte that follows
  head: number; // of the next byte that the session will make; up to it, output is history
  typed: number; // how much input of this viewer was taken before
  window: number; // how far input may be ahead of its ack
  watching: boolean; // read-only
  size: Size; // the terminal's, which a watcher follows
  envoyID: string;
  kind: string;
  desktop: Desktop | undefined; // of kinds rdp and vnc
  rights: string[]; // of kind ssh: what the session may be used for; empty: nobody says
}

/** Desktop is what a viewer of a desktop may do there. */
export interface Desktop {
  toEnvoy: boolean; // this clipboard may be sent
  fromEnvoy: boolean; // the desktop's clipboard comes
  upload: boolean; // files may be put on the drive
  download: boolean; // files may be taken from it
  audio: boolean;
  view: boolean; // no key and no pointer is taken
  console: boolean; // it is the screen of who sits there
}

/** Said is text of the machine's SSH server from before there is a shell. It is untrusted. */
export interface Said {
  type: "said";
  envoy: string; // its hostname
  login: string;
  text: string;
}

/** Ask is what the machine's SSH server wants to know before it lets the person in. */
export interface Ask {
  type: "ask";
  id: number;
  envoy: string;
  login: string;
  text: string; // what it says before it asks
  questions: { text: string; echo: boolean }[];
  password: boolean; // the one question is for the login's password
  again: boolean; // what was answered before was not accepted
}

/** AsideSaid is what the relay says of a lane, see wire.Aside. */
export interface AsideSaid {
  type: "aside";
  n: number;
  ticket: Uint8Array<ArrayBuffer>; // not empty: it may be opened
  used: boolean; // output comes over it from here on
  over: boolean; // nothing more comes over it
}

export interface Ended {
  code: number; // see codes.ts
  detail: string;
}

export type Message =
  | Attached
  | ({ type: "refused" } & Ended)
  | { type: "data"; bytes: Uint8Array<ArrayBuffer> }
  | { type: "resize"; size: Size }
  | { type: "notice"; code: number; text: string }
  | ({ type: "exit"; status: number; signal: string } & Ended)
  | { type: "ack"; offset: number }
  | { type: "pong"; n: number }
  | { type: "watchers"; names: string[] }
  | Said
  | Ask
  | AsideSaid
  | { type: "skip"; screen: Uint8Array<ArrayBuffer>; to: number; more: boolean };

// Bounds of an Ask and its answer.
const maxQuestions = 32;
export const maxAnswer = 1 << 10; // bytes

/** encodeAttach is the first frame of a viewer. */
export function encodeAttach(a: {
  ticket: Uint8Array;
  from?: number | undefined;
  size: Size;
  client: Uint8Array;
  skip?: boolean; // see Skip in wire/message.go
  prompt?: boolean; // what is on the screen is acknowledged within 10 ms
  paint?: boolean; // Skip is understood
  back?: boolean; // who has taken the session over keeps it
  answers?: boolean; // Said is shown, and Ask answered
  asides?: boolean; // a lane is opened when it is offered
}): Uint8Array<ArrayBuffer> {
  const m = new Map<number, unknown>([[1, a.ticket]]);
  if (a.from !== undefined) m.set(2, a.from);
  m.set(3, sizeMap(a.size)).set(4, a.client);
  if (a.skip) m.set(5, true);
  if (a.prompt) m.set(6, true);
  if (a.paint) m.set(7, true);
  if (a.answers) m.set(8, true);
  if (a.back) m.set(9, true);
  if (a.asides) m.set(11, true);
  return message(frame.attach, m);
}

export const encodeData = (b: Uint8Array) => encodeFrame(frame.data, b);
export const encodeResize = (s: Size) => message(frame.resize, new Map([[1, sizeMap(s)]]));
export const encodeEOF = () => encodeFrame(frame.eof, new Uint8Array(0));
export const encodeAck = (offset: number, frames = 0) => message(frame.ack, new Map(frames > 0 ? [[1, offset], [2, frames]] : [[1, offset]]));
export const encodeAside = (n: number, frames: number) => message(frame.aside, new Map<number, unknown>([[1, n], [4, true], [5, frames]]));
export const encodeAnswer = (id: number, texts: Uint8Array[]) => message(frame.answer, new Map<number, unknown>([[1, id], [2, texts]]));
export const encodeGiveUp = () => message(frame.answer, new Map([[3, true]]));
export const encodePing = (n: number) => message(frame.ping, new Map([[1, n]]));

function message(type: number, m: Map<number, unknown>): Uint8Array<ArrayBuffer> {
  return encodeFrame(type, encode(m));
}

const sizeMap = (s: Size) => {
  const c = clamp(s);
  return new Map([[1, c.cols], [2, c.rows]]);
};

/** parse reads the message of a frame of the relay's. */
export function parse(f: Frame): Message {
  if (f.type === frame.data) return { type: "data", bytes: f.payload };
  const m = new Fields(f);
  switch (f.type) {
    case frame.attached:
      return {
        type: "attached", session: m.uuid(1), envoy: m.text(2), login: m.text(3), offset: m.uint(4), head: m.uint(5), typed: m.uint(6),
        window: m.uint(7), watching: m.bool(8), size: m.size(9), envoyID: m.uuid(10), kind: m.text(11),
        desktop: m.desktop(12), rights: m.texts(16),
      };
    case frame.refused:
      return { type: "refused", code: m.uint(1), detail: m.text(2) };
    case frame.resize:
      return { type: "resize", size: m.size(1) };
    case frame.notice:
      return { type: "notice", code: m.uint(1), text: m.text(2) };
    case frame.exit:
      return { type: "exit", code: m.uint(1), detail: m.text(2), status: m.uint(3), signal: m.text(4) };
    case frame.ack:
      return { type: "ack", offset: m.uint(1) };
    case frame.pong:
      return { type: "pong", n: m.uint(1) };
    case frame.watchers:
      return { type: "watchers", names: m.texts(1) };
    case frame.skip:
      return { type: "skip", screen: m.bytes(1), to: m.uint(2), more: m.bool(3) };
    case frame.aside:
      return { type: "aside", n: m.uint(1), ticket: m.bytes(2), used: m.bool(3), over: m.bool(4) };
    case frame.said:
      return { type: "said", envoy: m.text(1), login: m.text(2), text: m.text(3) };
    case frame.ask:
      return { type: "ask", id: m.uint(1), envoy: m.text(2), login: m.text(3), text: m.text(4), questions: m.questions(5), password: m.bool(6), again: m.bool(7) };
  }
  throw new ProtocolError(`no message goes with the frame 0x${f.type.toString(16)}`);
}

// Fields reads a message's fields by their keys; what is absent or null is the zero value.
class Fields {
  private readonly map: Map<unknown, unknown>;
  private readonly what: string;

  constructor(f: Frame | Map<unknown, unknown>) {
    if (f instanceof Map) {
      this.what = "a map";
      this.map = f;
      return;
    }
    this.what = `the frame 0x${f.type.toString(16)}`;
    let v: unknown;
    try {
      v = decode(f.payload, {
        useMaps: true, strict: true, allowIndefinite: false, allowUndefined: false, allowInfinity: false, allowNaN: false,
        allowBigInt: false, rejectDuplicateMapKeys: true, tags: {},
      });
    } catch (err) {
      throw new ProtocolError(`${this.what} of the relay cannot be read: ${err instanceof Error ? err.message : String(err)}`);
    }
    if (!(v instanceof Map)) throw this.wrong("the message");
    this.map = v;
  }

  uint(key: number): number {
    const v = this.map.get(key) ?? 0;
    if (typeof v !== "number" || !Number.isSafeInteger(v) || v < 0) throw this.wrong(key);
    return v;
  }

  text(key: number): string {
    const v = this.map.get(key) ?? "";
    if (typeof v !== "string") throw this.wrong(key);
    return v;
  }

  bytes(key: number): Uint8Array<ArrayBuffer> {
    const v = this.map.get(key) ?? new Uint8Array(0);
    if (!(v instanceof Uint8Array)) throw this.wrong(key);
    return Uint8Array.from(v);
  }

  bool(key: number): boolean {
    const v = this.map.get(key) ?? false;
    if (typeof v !== "boolean") throw this.wrong(key);
    return v;
  }

  texts(key: number): string[] {
    const v = this.map.get(key) ?? [];
    if (!Array.isArray(v) || !v.every((s) => typeof s === "string")) throw this.wrong(key);
    return v as string[];
  }

  questions(key: number): Ask["questions"] {
    const v = this.map.get(key);
    if (!Array.isArray(v) || v.length === 0 || v.length > maxQuestions) throw this.wrong(key);
    return v.map((q: unknown) => {
      if (!(q instanceof Map)) throw this.wrong(key);
      const f = new Fields(q);
      return { text: f.text(1), echo: f.bool(2) };
    });
  }

  size(key: number): Size {
    const v = this.map.get(key);
    if (!(v instanceof Map)) throw this.wrong(key);
    const f = new Fields(v);
    return clamp({ cols: f.uint(1), rows: f.uint(2) });
  }

  desktop(key: number): Desktop | undefined {
    const v = this.map.get(key) ?? undefined;
    if (v === undefined) return undefined;
    if (!(v instanceof Map)) throw this.wrong(key);
    const f = new Fields(v);
    return { toEnvoy: f.bool(1), fromEnvoy: f.bool(2), upload: f.bool(3), download: f.bool(4), audio: f.bool(5), view: f.bool(6), console: f.bool(7) };
  }

  uuid(key: number): string {
    const v = this.map.get(key);
    if (!(v instanceof Uint8Array) || v.length !== 16) throw this.wrong(key);
    const hex = Array.from(v, (b) => b.toString(16).padStart(2, "0")).join("");
    return hex.replace(/^(.{8})(.{4})(.{4})(.{4})/, "$1-$2-$3-$4-");
  }

  private wrong(key: number | string): ProtocolError {
    return new ProtocolError(`${this.what} of the relay has a wrong value for ${key}`);
  }
}
