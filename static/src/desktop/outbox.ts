import { Parser } from "@glokon/guacamole-common-js";
import type { Clock } from "../viewer/clock";
import { maxData } from "../wire/frames";

/** Road is where an [Outbox] sends to. */
export interface Road {
  send(b: Uint8Array<ArrayBuffer>): void; // at most maxData bytes
  backlog(): number; // bytes that this browser has not sent yet
  frame(f: () => void): void; // calls f with the screen's next frame
  overflow(): void; // the relay takes nothing any more
}

const little = 4 << 10; // bytes on their way with which a pointer may still be shown to move
const slowly = 100; // ms between two moves when more is on its way
const most = 1 << 20; // bytes that wait for the relay: a clipboard and hours of keys

/**
 * Outbox sends instructions to the desktop, at once and in their order, as far as the relay's window
 * goes. Only moves of the pointer may be dropped: the newest waits for the next frame, and for the
 * road to be clear. A click carries the place where it happens, so a move that waits is not needed
 * before it; before a key it is sent, as keys go to what the pointer is over.
 */
export class Outbox {
  private readonly text = new TextEncoder();
  private waiting: Uint8Array<ArrayBuffer>[] = []; // behind the window
  private bytes = 0; // of waiting
  private sent = 0;
  private acked = 0;
  private move: { x: number; y: number } | undefined;
  private mask = 0; // the buttons that the desktop knows of
  private framed = false; // a move was sent in this frame
  private movedAt = -Infinity;
  private cancel: (() => void) | undefined;
  private over = false;

  constructor(private readonly road: Road, private readonly clock: Clock, private readonly window: number) {}

  /** message sends an instruction that must arrive. */
  message(...elements: (string | number)[]): void {
    if (elements[0] === "key" || elements[0] === "touch") this.hurry();
    this.put(elements);
  }

  /** mouse is where the pointer is, and which buttons are down. */
  mouse(x: number, y: number, mask: number): void {
    if (mask !== this.mask) {
      this.mask = mask;
      this.move = undefined;
      this.put(["mouse", x, y, mask]);
      return;
    }
    this.move = { x, y };
    this.flush();
  }

  /** ack is how much the relay has taken; false: more than was sent. */
  ack(offset: number): boolean {
    if (offset > this.sent || offset < this.acked) return false;
    this.acked = offset;
    this.drain();
    this.flush();
    return true;
  }

  end(): void {
    this.over = true;
    this.waiting = [];
    this.move = undefined;
    this.cancel?.();
  }

  // hurry sends the move that waits.
  private hurry(): void {
    const m = this.move;
    this.move = undefined;
    if (m) this.put(["mouse", m.x, m.y, this.mask]);
  }

  private flush(): void {
    if (!this.move || this.framed || this.over) return;
    const wait = this.movedAt + slowly - this.clock.now();
    if (!this.clear && (wait > 0 || this.waiting.length > 0)) {
      this.cancel ??= this.clock.after(Math.max(wait, 1), () => {
        this.cancel = undefined;
        this.flush();
      });
      return;
    }
    this.framed = true;
    this.movedAt = this.clock.now();
    this.hurry();
    this.road.frame(() => {
      this.framed = false;
      this.flush();
    });
  }

  private get clear(): boolean {
    return this.waiting.length === 0 && this.sent - this.acked <= little && this.road.backlog() <= little;
  }

  private put(elements: (string | number)[]): void {
    if (this.over) return;
    const b = this.text.encode(Parser.toInstruction(elements)); // one list, whatever its types say
    for (let at = 0; at < b.length; at += maxData) {
      const part = b.subarray(at, at + maxData);
      this.waiting.push(part);
      this.bytes += part.length;
    }
    this.drain();
    if (this.bytes <= most) return;
    this.end();
    this.road.overflow();
  }

  private drain(): void {
    for (;;) {
      const b = this.waiting[0];
      if (b === undefined || this.sent - this.acked + b.length > this.window) return;
      this.waiting.shift();
      this.bytes -= b.length;
      this.sent += b.length;
      this.road.send(b);
    }
  }
}
