import type { Opening } from "../api/model";
import { Problem } from "../api/problem";
import { codeNamed, codeOf } from "../wire/codes";
import type { Attached, Ended, Message } from "../wire/messages";
import { Attachment, type Outcome } from "./attachment";
import type { Clock } from "./clock";
import type { Duplex } from "./transport";

/** Way is how a link gets to its session. */
export interface Way {
  attach(signal: AbortSignal): Promise<Opening>; // throws Problem
  dial(o: Opening, signal: AbortSignal): Promise<Duplex>;
  lost(d: Duplex): void;
  ending(): Promise<Ended>; // of a session that is gone
}

export type State =
  | { name: "connecting"; again: boolean }
  | { name: "attached" }
  | { name: "waiting"; until: number }
  | { name: "elsewhere" }
  | { name: "stopped"; problem: Problem }
  | { name: "ended"; exit: Ended & { status: number; signal: string } }
  | { name: "closed" };

const backoff = [0, 500, 1000, 2000, 4000, 8000, 10_000]; // ms
const stable = 5000; // ms after which an attachment counts as a success

const takenOver = codeNamed("taken_over")?.number;

/**
 * Lifeline keeps a viewer attached to its session, over as many connections as it takes.
 *
 *                 .------------- broken: at once, then ever later ------------.
 *                 v                                                            |
 *   start ---> connecting --- Attached ---> attached -------------------> waiting
 *                 ^  |                         |
 *                 |  '--- the person must act -|---> stopped --- again() ---> connecting
 *                 |                            |---> elsewhere -- again() --> connecting
 *                 '                            '---> ended
 *
 * close() leads to closed from everywhere; the session stays open for a while then.
 */
export abstract class Lifeline {
  state: State = { name: "connecting", again: false };
  info: Attached | undefined; // of the last Attached
  watchers: string[] = [];

  /** client names this viewer among the session's. */
  protected readonly client = crypto.getRandomValues(new Uint8Array(16));
  protected attachment: Attachment | undefined;
  private stop = new AbortController();
  private wake: (() => void) | undefined;
  private failures = 0;
  /** wished says that a person asked for this attempt: else who has taken the session over keeps it. */
  protected wished = true;

  constructor(private readonly way: Way, protected readonly clock: Clock) {}

  /** hello is the first frame of a connection. */
  protected abstract hello(ticket: Uint8Array): Uint8Array<ArrayBuffer>;
  /** message takes what the relay says. */
  protected abstract message(m: Message, at: Attachment): void;
  /** parted is called when a connection is over. */
  protected abstract parted(): void;
  /** changed is called when there is something new to be seen. */
  protected abstract changed(): void;

  /** run works until the session has ended, or close. first is the answer of connect, if there is one. */
  async run(first?: Opening): Promise<void> {
    while (this.state.name !== "closed" && this.state.name !== "ended") {
      const next = await this.once(first);
      first = undefined;
      if (this.closed) return;
      this.change(next);
      if (next.name === "ended") return;
      if (next.name === "waiting") await this.pause(next.until - this.clock.now());
      else await this.pause();
      if (this.closed) return;
      this.change({ name: "connecting", again: true });
    }
  }

  /** again is the person's wish to go on: take it back, try again. */
  again(): void {
    this.failures = 0;
    this.wished = true;
    this.wake?.();
  }

  /** nudge says that something changed that may have brought the network back. */
  nudge(): void {
    if (this.state.name === "waiting") this.wake?.();
    else if (this.state.name === "attached") this.attachment?.ping();
  }

  close(): void {
    this.change({ name: "closed" });
    this.stop.abort();
    this.attachment?.close();
    this.wake?.();
  }

  /** retrying: it looks for a connection by itself. */
  get retrying(): boolean {
    return this.state.name === "waiting" || this.state.name === "connecting";
  }

  /** over: no connection comes any more. */
  get over(): boolean {
    return this.state.name === "ended" || this.state.name === "closed";
  }

  get transport(): Duplex["kind"] | undefined {
    return this.attachment?.duplex.kind;
  }

  get rtt(): number | undefined {
    return this.attachment?.rtt;
  }

  /** contact is when the relay was last heard of. */
  contact: number | undefined;

  get silence(): number | undefined {
    const at = this.attachment?.contact ?? this.contact;
    return at === undefined ? undefined : this.clock.now() - at;
  }

  /** met notes that the relay has answered Attach. */
  protected met(a: Attached, at: Attachment): void {
    at.contactMade = true;
    this.wished = false;
    this.info = a;
    this.watchers = [];
  }

  protected change(s: State): void {
    if (this.closed) return;
    this.state = s;
    this.changed();
  }

  private get closed(): boolean {
    return this.state.name === "closed";
  }

  // once is one attempt, from the ticket to the end of the connection; the result is the next state.
  private async once(first?: Opening): Promise<State> {
    this.stop = new AbortController();
    let duplex: Duplex;
    let opening: Opening;
    try {
      opening = first ?? (await this.way.attach(this.stop.signal));
      duplex = await this.way.dial(opening, this.stop.signal);
    } catch (err) {
      return this.failed(err);
    }
    if (this.closed) {
      duplex.close();
      return this.state;
    }
    const attachment: Attachment = new Attachment(duplex, this.clock, (m) => this.attachment === attachment && this.message(m, attachment));
    this.attachment = attachment;
    const began = this.clock.now();
    const ticket = Uint8Array.from(atob(opening.ticket.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    const outcome = await attachment.run(this.hello(ticket));
    this.contact = attachment.contact;
    this.attachment = undefined;
    this.parted();
    if (outcome.kind === "broken") this.way.lost(duplex);
    if (attachment.contactMade && this.clock.now() - began >= stable) this.failures = 0;
    return this.after(outcome);
  }

  private async failed(err: unknown): Promise<State> {
    const p = Problem.from(err);
    if (p.code === "not_found") return this.gone();
    if (p.code === "taken_over") return { name: "elsewhere" };
    if (p.passing) return this.later();
    return { name: "stopped", problem: p };
  }

  private after(o: Outcome): State | Promise<State> {
    switch (o.kind) {
      case "broken":
        return this.later();
      case "protocol":
        return { name: "stopped", problem: Problem.of("protocol_error", o.detail) };
      case "exit": {
        if (o.exit.code === takenOver) return { name: "elsewhere" };
        // The viewer has no right to it any more; the session may still be there.
        const p = Problem.of(codeOf(o.exit.code).name, o.exit.detail, 401);
        return p.signIn ? { name: "stopped", problem: p } : { name: "ended", exit: o.exit };
      }
      case "refused": {
        const { name } = codeOf(o.refused.code);
        if (name === "ticket_invalid" && this.failures < backoff.length) return this.later();
        return this.failed(Problem.of(name, o.refused.detail, 400));
      }
    }
  }

  private async gone(): Promise<State> {
    try {
      return { name: "ended", exit: { status: 0, signal: "", ...(await this.way.ending()) } };
    } catch (err) {
      const p = Problem.from(err);
      return p.passing ? this.later() : { name: "stopped", problem: p };
    }
  }

  private later(): State {
    const wait = backoff[Math.min(this.failures++, backoff.length - 1)] ?? 0;
    return { name: "waiting", until: this.clock.now() + wait };
  }

  // pause waits for again, nudge or close, and at most ms.
  private async pause(ms?: number): Promise<void> {
    let cancel = () => {};
    await new Promise<void>((done) => {
      this.wake = done;
      if (ms !== undefined) cancel = this.clock.after(Math.max(ms, 0), done);
    });
    this.wake = undefined;
    cancel();
  }
}
