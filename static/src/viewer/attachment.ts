import { FrameReader, ProtocolError } from "../wire/frames";
import { encodeAck, encodePing, parse, type Ended, type Message } from "../wire/messages";
import { Aside } from "./aside";
import type { Clock } from "./clock";
import type { Duplex } from "./transport";

const pingEvery = 2000; // ms
const deadAfter = 6000; // ms without any frame
const patience = 3000; // ms that an answer to a question of ours may take before that counts

/** Outcome is how a connection came to its end. */
export type Outcome =
  | { kind: "exit"; exit: Ended & { status: number; signal: string } }
  | { kind: "refused"; refused: Ended }
  | { kind: "protocol"; detail: string }
  | { kind: "broken" };

/** Attachment is one connection of a viewer to its session: frames both ways, until it breaks or ends. */
export class Attachment {
  /** rtt is the last round trip in ms. */
  rtt: number | undefined;
  /** contact is when the last frame came. */
  contact: number;

  private readonly reader = new FrameReader();
  private cancel: () => void = () => {};
  private finish: (o: Outcome) => void = () => {};
  private over = false;
  private pings = 0;
  private pingAt = -Infinity;
  private askedAt: number | undefined; // when we first asked since the last frame
  private readonly aside: Aside;

  /** beside opens another connection for much output; changed is called when output goes another way. */
  constructor(readonly duplex: Duplex, private readonly clock: Clock, private readonly each: (m: Message) => void, beside: () => Promise<Duplex>, changed: () => void) {
    this.contact = clock.now();
    this.aside = new Aside({
      open: beside, changed,
      message: (m) => !this.over && this.each(m),
      send: (b) => this.send(b),
      failed: (err) => this.finish(err instanceof ProtocolError ? { kind: "protocol", detail: err.message } : { kind: "broken" }),
    }, clock);
  }

  /** carried says what carries it. */
  get carried(): string {
    return this.aside.carries ? `${this.duplex.kind} + WebSocket` : this.duplex.kind;
  }

  /** run sends the first frame and works until the end; after it nothing is called any more. */
  async run(attach: Uint8Array<ArrayBuffer>): Promise<Outcome> {
    const outcome = new Promise<Outcome>((done) => (this.finish = done));
    this.duplex.send(attach);
    this.askedAt = this.clock.now();
    this.watch();
    void this.read();
    const o = await outcome;
    this.over = true;
    this.cancel();
    this.aside.end();
    this.duplex.close();
    return o;
  }

  send(b: Uint8Array<ArrayBuffer>): void {
    if (!this.over) this.duplex.send(b);
  }

  /** ack says how much of the output is on the screen, or taken in. */
  ack(offset: number): void {
    this.send(encodeAck(offset, this.aside.taken));
  }

  /** ping asks at once whether the relay is still there. */
  ping(): void {
    const now = this.clock.now();
    this.pingAt = now;
    this.askedAt ??= now;
    this.send(encodePing(++this.pings));
  }

  /** close ends it from this side. */
  close(): void {
    this.finish({ kind: "broken" });
  }

  /** fail ends it because of what the relay sent. */
  fail(detail: string): void {
    this.over = true;
    this.finish({ kind: "protocol", detail });
  }

  private async read(): Promise<void> {
    try {
      for (;;) {
        const b = await this.duplex.receive();
        if (this.over) return;
        if (b === undefined) break;
        this.contact = this.clock.now();
        this.askedAt = undefined;
        this.reader.push(b, (f) => {
          if (!this.over) this.message(parse(f));
        });
      }
      this.finish({ kind: "broken" });
    } catch (err) {
      this.finish(err instanceof ProtocolError ? { kind: "protocol", detail: err.message } : { kind: "broken" });
    }
  }

  private message(m: Message): void {
    if (m.type === "pong" && m.n === this.pings) this.rtt = this.clock.now() - this.pingAt;
    else if (m.type === "exit") {
      this.over = true;
      this.finish({ kind: "exit", exit: m });
    } else if (m.type === "refused") {
      this.over = true;
      this.finish({ kind: "refused", refused: m });
    } else if (m.type === "aside") this.aside.said(m);
    else this.each(m);
  }

  // A browser lets timers of a hidden page run once a minute: so a silence counts only after a
  // question that nobody answered.
  private watch(): void {
    this.cancel = this.clock.after(pingEvery / 2, () => {
      const now = this.clock.now();
      if (this.askedAt !== undefined && now - this.contact >= deadAfter && now - this.askedAt >= patience) {
        this.finish({ kind: "broken" });
        return;
      }
      if (now - this.pingAt >= pingEvery && this.contactMade) this.ping();
      this.watch();
    });
  }

  // contactMade says that the relay has answered Attach: before it only that frame is allowed.
  contactMade = false;
}
