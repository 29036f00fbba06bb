import { appendVarint, readVarint, varintSize } from "./varint";

// The frames of a viewer, see wire/frame.go: varint type | varint length | payload. Messages are
// CBOR maps (messages.ts). Numbers below 0x40 are fatal when they are unknown, the others skipped.
export const frame = {
  ping: 0x04, // viewer -> relay
  pong: 0x05, // the answer, same number
  refused: 0x12, // the answer no; nothing follows
  attached: 0x21, // relay -> viewer
  data: 0x22, // terminal bytes, both ways, at most maxData
  resize: 0x23, // both ways; from the relay only to watchers
  eof: 0x24, // viewer -> relay, empty
  notice: 0x25, // relay -> viewer
  exit: 0x26, // relay -> viewer, the last one
  attach: 0x27, // viewer -> relay, the first one
  ack: 0x28, // both ways
  watchers: 0x29, // relay -> viewer
  skip: 0x2a, // relay -> a viewer that asked for it
  said: 0x2c, // relay -> a viewer that answers, before attached
  ask: 0x2d, // relay -> a viewer that answers, before attached
  answer: 0x2e, // viewer -> relay
  aside: 0x39, // both ways, of a viewer that knows it
} as const;

const fromRelay: ReadonlySet<number> = new Set([
  frame.pong, frame.refused, frame.attached, frame.data, frame.resize, frame.notice, frame.exit, frame.ack, frame.watchers, frame.skip, frame.said, frame.ask, frame.aside,
]);

const firstOptional = 0x40; // from here on unknown types are skipped

// Sizes of payloads, in bytes, checked before memory is taken.
export const maxControl = 64 << 10;
export const maxData = 32 << 10;

// How many frames in a row may be ones that are skipped.
const maxSkipped = 16;

/** ProtocolError says that the relay sent what it must not. */
export class ProtocolError extends Error {
  override name = "ProtocolError";
}

export interface Frame {
  readonly type: number;
  readonly payload: Uint8Array<ArrayBuffer>; // a copy of its own
}

/** encodeFrame makes one frame. */
export function encodeFrame(type: number, payload: Uint8Array): Uint8Array<ArrayBuffer> {
  const head: number[] = [];
  appendVarint(head, type);
  appendVarint(head, payload.length);
  const b = new Uint8Array(head.length + payload.length);
  b.set(head);
  b.set(payload, head.length);
  return b;
}

/**
 * FrameReader cuts a stream of bytes into frames, however the bytes come in pieces. It keeps at
 * most one frame, and nothing of the pieces that it was given.
 */
export class FrameReader {
  private head = new Uint8Array(16); // type and length, while they are incomplete
  private headLength = 0;
  private type = -1; // of the frame whose payload is being read; -1: none
  private payload = new Uint8Array(0);
  private filled = 0;
  private skipped = 0;
  private skip = false;

  /** push calls each for every frame that is complete with chunk. It throws ProtocolError; the reader is of no use then. */
  push(chunk: Uint8Array, each: (f: Frame) => void): void {
    let at = 0;
    while (at < chunk.length || this.type >= 0) {
      if (this.type < 0) {
        this.head[this.headLength++] = chunk[at++] ?? 0;
        if (!this.begin()) continue;
      }
      const n = Math.min(this.payload.length - this.filled, chunk.length - at);
      this.payload.set(chunk.subarray(at, at + n), this.filled);
      this.filled += n;
      at += n;
      if (this.filled < this.payload.length) return;
      const done = { type: this.type, payload: this.payload };
      this.type = -1;
      if (!this.skip) each(done);
    }
  }

  /** between says that the stream may end here. */
  get between(): boolean {
    return this.type < 0 && this.headLength === 0;
  }

  // begin looks whether the head is complete, and makes room for the payload then.
  private begin(): boolean {
    const typeSize = varintSize(this.head[0] ?? 0);
    if (this.headLength <= typeSize) return false;
    const size = typeSize + varintSize(this.head[typeSize] ?? 0);
    if (this.headLength < size) return false;
    const type = readVarint(this.head, 0);
    const length = readVarint(this.head, typeSize);
    const hex = "0x" + type.toString(16);
    this.skip = !fromRelay.has(type);
    if (this.skip && type < firstOptional) throw new ProtocolError(`the relay sent a frame of the type ${hex}`);
    this.skipped = this.skip ? this.skipped + 1 : 0;
    if (this.skipped > maxSkipped) throw new ProtocolError("the relay sends too much that is to be skipped");
    const limit = type === frame.data ? maxData : maxControl;
    if (length > limit) throw new ProtocolError(`the relay sent a frame ${hex} of ${length} bytes, at most ${limit}`);
    this.type = type;
    this.headLength = 0;
    this.payload = new Uint8Array(length);
    this.filled = 0;
    return true;
  }
}
