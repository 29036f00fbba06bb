import { FrameReader } from "../wire/frames";
import { encodeAside, encodeAttach, encodePing, parse, type AsideSaid, type Message } from "../wire/messages";
import type { Clock } from "./clock";
import type { Duplex } from "./transport";

const alive = 30_000; // ms between two frames that keep a lane's connection open
const most = 4 << 20; // bytes that may come over a lane before its turn; the relay sends no more than 2 MiB

/** Caller is the attachment whose lane it is. */
export interface Caller {
  open(): Promise<Duplex>; // another connection to the session's relay
  message(m: Message): void; // in its turn
  send(b: Uint8Array<ArrayBuffer>): void; // on the attachment's own connection
  failed(err: unknown): void; // of what the relay sent over the lane
  changed(): void;
}

/**
 * Aside is the lane of an attachment: a WebSocket that output comes over, while WebTransport has all else (wire.Aside). What
 * comes over it waits until all has come that the relay has sent before on the other way. When it breaks, the relay is told
 * how many of its frames came, and sends the others again.
 */
export class Aside {
  private n = 0; // the number of the lane; 0: there is none
  private duplex: Duplex | undefined;
  private used = false;
  private frames = 0; // that came in their turn
  private early: Message[] = [];
  private bytes = 0; // that came before their turn
  private cancel: () => void = () => {};

  constructor(private readonly caller: Caller, private readonly clock: Clock) {}

  /** carries says that output comes over it. */
  get carries(): boolean {
    return this.used;
  }

  /** taken is how many frames have come over the lane of now. */
  get taken(): number {
    return this.used ? this.frames : 0;
  }

  /** said takes what the relay says of lanes. */
  said(m: AsideSaid): void {
    if (m.ticket.length > 0) {
      this.end();
      this.n = m.n;
      void this.open(m.n, m.ticket);
    } else if (m.n !== this.n) {
      // of one that is over already; the relay has been told
    } else if (m.over) this.over();
    else if (m.used) this.use();
  }

  /** end lets go of it: the attachment is over. */
  end(): void {
    this.n = 0;
    this.cancel();
    this.duplex?.close();
    this.duplex = undefined;
    this.used = false;
    this.frames = this.bytes = 0;
    this.early = [];
  }

  private over(): void {
    const { n, taken } = this;
    this.end();
    this.caller.send(encodeAside(n, taken));
    this.caller.changed();
  }

  private use(): void {
    this.used = true;
    this.caller.changed();
    const early = this.early;
    this.early = [];
    for (const m of early) this.take(m);
  }

  private take(m: Message): void {
    this.frames++;
    this.caller.message(m);
  }

  private async open(n: number, ticket: Uint8Array): Promise<void> {
    let duplex: Duplex;
    try {
      duplex = await this.caller.open();
    } catch {
      if (this.n === n) this.over();
      return;
    }
    if (this.n !== n) return duplex.close();
    this.duplex = duplex;
    duplex.send(encodeAttach({ ticket, size: { cols: 1, rows: 1 }, client: new Uint8Array(16) }));
    this.watch(duplex);
    const reader = new FrameReader();
    try {
      for (;;) {
        const b = await duplex.receive();
        if (this.duplex !== duplex) return;
        if (b === undefined) break;
        reader.push(b, (f) => {
          if (this.duplex !== duplex) return;
          const m = parse(f);
          if (m.type === "refused") return this.over();
          if (this.used) return this.take(m);
          this.early.push(m);
          this.bytes += f.payload.length;
          if (this.bytes > most) this.over();
        });
      }
    } catch (err) {
      if (this.duplex === duplex) this.caller.failed(err);
      return;
    }
    if (this.duplex === duplex) this.over();
  }

  private watch(duplex: Duplex): void {
    this.cancel = this.clock.after(alive, () => {
      duplex.send(encodePing(0));
      this.watch(duplex);
    });
  }
}
