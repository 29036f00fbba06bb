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
  beside?(o: Opening): Promise<Duplex>; // a connection beside one over WebTransport, for much output
  ending(): Promise<Ended>; // of a session that is gone
  better?: Better; // undefined: a link stays with what it has got
}

/** Better finds a better transport for a link that has one. */
export interface Better {
  /** moved says that it may be another network by now. */
  moved(): void;
  /** due is in how many ms it may be tried to find something better than d; undefined: there is no reason to. */
  due(d: Duplex): number | undefined;
  /** again opens it. */
  again(o: Opening, signal: AbortSignal): Promise<Duplex>;
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
  private next: { opening: Opening; duplex: Duplex } | undefined; // what a move goes on with
  private looking = false; // for a better transport
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
      if (this.next) { // nothing broke: the next connection is there already
        this.change({ name: "connecting", again: true });
        continue;
      }
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

  /** nudge says that something happened that may have brought the network back; changed, that it may be another one by now. */
  nudge(changed = false): void {
    if (changed) this.way.better?.moved();
    if (this.state.name === "waiting") this.wake?.();
    else if (this.state.name === "attached") {
      this.attachment?.ping();
      void this.improve();
    }
  }

  close(): void {
    this.change({ name: "closed" });
    this.stop.abort();
    this.next?.duplex.close();
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

  get transport(): string | undefined {
    return this.attachment?.carried;
  }

  /** asides says that a lane can be had, see Attach. */
  protected get asides(): boolean {
    return this.way.beside !== undefined;
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

  /** resumes says that what is attached goes on over another connection at the byte where it was. */
  protected get resumes(): boolean {
    return true;
  }

  // improve moves to a better transport if there is one by now. The old connection serves until the other one is open;
  // what was on its way over it is asked for again, as when it breaks.
  private async improve(): Promise<void> {
    const at = this.attachment;
    const better = this.way.better;
    const wait = at && better?.due(at.duplex);
    if (!at || !better || wait === undefined || this.looking || !this.resumes) return;
    this.looking = true;
    let duplex: Duplex | undefined;
    try {
      if (wait > 0) await new Promise<void>((done) => this.clock.after(wait, done));
      if (this.attachment !== at || this.state.name !== "attached") return;
      const opening = await this.way.attach(this.stop.signal);
      duplex = await better.again(opening, this.stop.signal);
      if (this.attachment !== at || this.state.name !== "attached") return;
      this.next = { opening, duplex };
      duplex = undefined;
      at.close();
    } catch {
      // it stays as it is
    } finally {
      this.looking = false;
      duplex?.close();
    }
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
    const ready = this.next;
    this.next = undefined;
    let duplex: Duplex;
    let opening: Opening;
    try {
      opening = ready?.opening ?? first ?? (await this.way.attach(this.stop.signal));
      duplex = ready?.duplex ?? (await this.way.dial(opening, this.stop.signal));
    } catch (err) {
      return this.failed(err);
    }
    if (this.closed) {
      duplex.close();
      return this.state;
    }
    const attachment: Attachment = new Attachment(duplex, this.clock, (m) => this.attachment === attachment && this.message(m, attachment),
      () => this.way.beside?.(opening) ?? Promise.reject(new Error("there is no other way")), () => this.attachment === attachment && this.changed());
    this.attachment = attachment;
    const began = this.clock.now();
    const ticket = Uint8Array.from(atob(opening.ticket.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    const outcome = await attachment.run(this.hello(ticket));
    this.contact = attachment.contact;
    this.attachment = undefined;
    this.parted();
    if (outcome.kind === "broken" && !this.next) this.way.lost(duplex);
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
