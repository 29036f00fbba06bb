import { Parser } from "@glokon/guacamole-common-js";
import type { Clock } from "../viewer/clock";

/** Taker is told what an [Intake] makes of the bytes. */
export interface Taker {
  instruction(opcode: string, args: string[]): void;
  ack(offset: number): void;
  failed(detail: string): void; // nothing more is taken in
  breath(): Promise<void>; // lets the page do something else
}

const slice = 8; // ms of work after which the page has its turn: half of what a frame of the screen has
const piece = 8 << 10; // bytes between two looks at the clock
const most = 1 << 20; // bytes that wait: four times what the relay may send without an ack
const ackAfter = 64 << 10; // bytes taken in after which the relay hears of it at once
const ackWithin = 50; // ms, for fewer

/**
 * Intake makes instructions of the bytes of one attachment, a slice at a time: however much comes,
 * keys and clicks get their turn. What was taken in is acknowledged, and so bounds what waits here.
 */
export class Intake {
  private readonly parser = new Parser();
  private readonly text = new TextDecoder("utf-8", { fatal: true });
  private waiting: Uint8Array[] = [];
  private bytes = 0; // of waiting
  private taken = 0;
  private acked = 0;
  private running = false;
  private over = false;
  private cancel: (() => void) | undefined;

  constructor(private readonly taker: Taker, private readonly clock: Clock) {
    this.parser.oninstruction = (opcode, args) => {
      if (!this.over) this.taker.instruction(opcode, args);
    };
  }

  data(b: Uint8Array): void {
    if (this.over) return;
    this.bytes += b.length;
    if (this.bytes > most) return this.fail("more of the picture than was asked for");
    for (let at = 0; at < b.length; at += piece) this.waiting.push(b.subarray(at, at + piece));
    if (!this.running) void this.run();
  }

  /** end forgets what waits. */
  end(): void {
    this.over = true;
    this.waiting = [];
    this.cancel?.();
  }

  // run ends behind a breath, so that pieces which come without one in between are not taken in at once.
  private async run(): Promise<void> {
    this.running = true;
    try {
      let until = this.clock.now() + slice;
      for (;;) {
        const b = this.waiting.shift();
        if (b !== undefined) {
          this.parser.receive(this.text.decode(b, { stream: true }));
          this.bytes -= b.length;
          this.taken += b.length;
          this.acknowledge();
        }
        if (b === undefined || this.clock.now() >= until) {
          await this.taker.breath();
          if (this.over || (b === undefined && this.waiting.length === 0)) break;
          until = this.clock.now() + slice;
        }
      }
    } catch (err) {
      this.fail(err instanceof Error ? err.message : String(err));
    } finally {
      this.running = false;
    }
  }

  private fail(detail: string): void {
    if (this.over) return;
    this.end();
    this.taker.failed(detail);
  }

  private acknowledge(): void {
    if (this.taken - this.acked >= ackAfter) this.ack();
    else this.cancel ??= this.clock.after(ackWithin, () => this.ack());
  }

  private ack(): void {
    this.cancel?.();
    this.cancel = undefined;
    if (this.over || this.taken === this.acked) return;
    this.acked = this.taken;
    this.taker.ack(this.taken);
  }
}
