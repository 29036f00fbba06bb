import type { Attached } from "../wire/messages";
import type { Clock } from "../viewer/clock";

/** Screen shows output. */
export interface Screen {
  /** write calls done when b is on the screen; the calls come in the order of the writes. */
  write(b: Uint8Array, done: () => void): void;
  /** hidden says that nobody can see it: the browser then lets it work once a second, or once a minute. */
  hidden(): boolean;
}

// What the page has shown the relay hears of at once or soon: it sends no more than the way to the screen carries.
const ackAfter = 64 << 10; // bytes on the screen after which it hears of them at once
const ackWithin = 10; // ms, for fewer

// Output for a hidden page is acknowledged when it comes, as nobody waits for its screen, and a shell must not. As much
// may wait there for the screen, in bytes.
const hiddenAhead = 4 << 20;

// CAN ends an escape sequence that was cut, RIS resets the terminal.
const reset = Uint8Array.of(0x18, 0x1b, 0x63);

/** Output counts the session's output by bytes: what came, what is on the screen, what of it the relay knows. */
export class Output {
  private received: number | undefined; // undefined: nothing yet
  private shown = 0;
  private acked = 0;
  private head = 0;
  private skip = 0;
  private repaint: Uint8Array[] = []; // what has come of one; the relay sends 4 MiB at most
  private cancel: (() => void) | undefined;

  /** gap counts how often output was lost on the way. */
  gaps = 0;

  constructor(private readonly screen: Screen, private readonly clock: Clock, private readonly sendAck: (offset: number) => void) {}

  /** from is where the output goes on for a viewer that comes back. */
  get from(): number | undefined {
    return this.received;
  }

  /** history says that what is being written now was said before this viewer listened: questions in it were answered, or are too old. */
  get history(): boolean {
    return this.shown < this.head;
  }

  begin(a: Attached): void {
    this.repaint = [];
    if (this.received === undefined) {
      this.received = this.shown = a.offset;
    } else if (a.offset > this.received) {
      this.gaps++;
      this.received = a.offset;
      this.screen.write(reset, () => (this.shown = a.offset));
    }
    this.skip = this.received - a.offset; // what we have already is not shown twice
    this.acked = a.offset;
    this.head = a.head;
  }

  data(b: Uint8Array): void {
    if (this.received === undefined) return;
    if (this.skip > 0) {
      const n = Math.min(this.skip, b.length);
      this.skip -= n;
      b = b.subarray(n);
    }
    if (b.length === 0) return;
    // A write is on one side of the head, so that history tells which.
    const old = this.head - this.received;
    if (old > 0 && old < b.length) {
      this.write(b.subarray(0, old));
      b = b.subarray(old);
    }
    this.write(b);
  }

  /**
   * leaveOut goes on at a number: screen is what the terminal shows by then, in place of what is left out, or of history
   * that is not kept any more.
   */
  leaveOut(screen: Uint8Array, to: number, more: boolean): void {
    if (this.received === undefined) return;
    this.repaint.push(screen); // shown as a whole or not at all: the connection may break between two parts
    if (more) return;
    const whole = joined(this.repaint);
    this.repaint = [];
    this.received = to;
    this.skip = 0;
    this.screen.write(whole, () => {
      this.shown = to;
      this.ack();
    });
  }

  /** end forgets what was to be told to a link that is gone. */
  end(): void {
    this.cancel?.();
    this.cancel = undefined;
  }

  private write(b: Uint8Array): void {
    this.received = (this.received ?? 0) + b.length;
    if (this.screen.hidden() && this.received - this.shown < hiddenAhead) this.ack(this.received);
    this.screen.write(b, () => {
      this.shown += b.length;
      if (this.shown - this.acked >= ackAfter) this.ack();
      else this.cancel ??= this.clock.after(ackWithin, () => this.ack());
    });
  }

  private ack(offset = this.shown): void {
    this.end();
    if (offset <= this.acked) return;
    this.acked = offset;
    this.sendAck(offset);
  }
}

function joined(parts: Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((n, p) => n + p.length, 0));
  let at = 0;
  for (const p of parts) {
    all.set(p, at);
    at += p.length;
  }
  return all;
}
