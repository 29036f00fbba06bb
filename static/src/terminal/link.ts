import type { Opening } from "../api/model";
import { Problem } from "../api/problem";
import { codeNamed, codeOf } from "../wire/codes";
import { clamp, encodeAck, encodeAttach, encodeData, encodeResize, type Attached, type Ended, type Message, type Size } from "../wire/messages";
import { Attachment, type Outcome } from "./attachment";
import type { Clock } from "./clock";
import { Sent } from "./input";
import { Keys, type Source } from "./keys";
import { Output, type Screen } from "./output";
import type { Duplex } from "./transport";

/** Way is how a link gets to its session. */
export interface Way {
  attach(signal: AbortSignal): Promise<Opening>; // throws Problem
  dial(o: Opening, signal: AbortSignal): Promise<Duplex>;
  lost(d: Duplex): void;
  ending(): Promise<Ended>; // of a session that is gone
}

/** Face is told what happens. */
export interface Face extends Screen {
  size(): Size;
  changed(): void; // look at the link again
  attached(a: Attached): void;
  resized(s: Size): void; // the owner's terminal, while watching
  notice(text: string, code: number): void;
  refused(why: string): void; // something typed was not taken
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
const maxHeld = 4 << 10; // bytes of keys that wait for a connection
const maxTyped = 64 << 10; // bytes of keys that wait for a shell that does not read
const chunk = 16 << 10; // bytes of input in a frame
const longestCharacter = 4; // bytes of UTF-8: less room than this is none
const resizeEvery = 100; // ms

const takenOver = codeNamed("taken_over")?.number;

/**
 * Link keeps a viewer attached to its session, over as many connections as it takes.
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
export class Link {
  state: State = { name: "connecting", again: false };
  info: Attached | undefined; // of the last Attached
  watchers: string[] = [];
  /** heldKeys is how many keys were typed without a connection. */
  heldKeys = 0;

  private readonly client = crypto.getRandomValues(new Uint8Array(16));
  private readonly output: Output;
  private readonly sent = new Sent();
  private readonly keys = new Keys();
  private attachment: Attachment | undefined;
  private pumping: Attachment | undefined;
  private stop = new AbortController();
  private wake: (() => void) | undefined;
  private failures = 0;
  private resize: { cancel?: (() => void) | undefined; at: number; size?: Size | undefined } = { at: -Infinity };

  constructor(private readonly way: Way, private readonly face: Face, private readonly clock: Clock) {
    this.output = new Output(face, clock, (offset) => this.attachment?.send(encodeAck(offset)));
  }

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

  /** history: what the terminal answers now must not be sent. */
  get history(): boolean {
    return this.output.history;
  }

  get gaps(): number {
    return this.output.gaps;
  }

  get paste(): Source | undefined {
    return this.keys.paste;
  }

  /** held is how much input waits for a connection, in bytes. */
  get held(): number {
    return this.state.name === "attached" ? 0 : this.keys.bytes + this.sent.unacked;
  }

  /** type takes what the keyboard gives, or says to the person why not. */
  type(b: Uint8Array<ArrayBuffer>): void {
    const why = this.closedTo(b.length);
    if (why !== "") {
      this.face.refused(why);
      return;
    }
    if (b.length === 1 && b[0] === 0x03) this.keys.cancelPastes(); // who types Ctrl-C means the paste as well
    this.keys.type(b);
    if (this.state.name === "attached") void this.pump();
    else {
      this.heldKeys++;
      this.face.changed();
    }
  }

  /** reply is what the terminal itself answers to the session. */
  reply(b: Uint8Array<ArrayBuffer>): void {
    if (this.output.history || this.state.name !== "attached" || this.info?.watching) return;
    if (this.keys.bytes + b.length > maxTyped) return;
    this.keys.type(b);
    void this.pump();
  }

  /** insert sends something large, piece by piece. */
  insert(s: Source): void {
    const why = this.state.name === "attached" ? this.closedTo(0) : "There is no connection: paste when it is back.";
    if (why !== "") {
      this.face.refused(why);
      return;
    }
    this.keys.add(s);
    this.face.changed();
    void this.pump();
  }

  cancelPaste(): void {
    this.keys.cancelPastes();
    void this.pump();
    this.face.changed();
  }

  /** discard forgets the input that waits for a connection. */
  discard(): void {
    this.keys.cancelPastes();
    this.keys.clear();
    this.sent.discard();
    this.heldKeys = 0;
    this.face.changed();
  }

  /** resized tells the session the terminal's size; the last of many counts. */
  resized(s: Size): void {
    this.resize.size = clamp(s);
    if (this.resize.cancel) return;
    const send = () => {
      this.resize.cancel = undefined;
      if (this.resize.size && this.state.name === "attached" && !this.info?.watching) {
        this.resize.at = this.clock.now();
        this.attachment?.send(encodeResize(this.resize.size));
      }
      this.resize.size = undefined;
    };
    const wait = this.resize.at + resizeEvery - this.clock.now();
    if (wait <= 0) send();
    else this.resize.cancel = this.clock.after(wait, send);
  }

  private get closed(): boolean {
    return this.state.name === "closed";
  }

  private closedTo(n: number): string {
    switch (this.state.name) {
      case "attached":
        if (this.info?.watching) return "You are watching: only the owner of the session can type.";
        return this.keys.bytes + n > maxTyped ? "The shell does not read: what you typed last was not taken." : "";
      case "connecting":
      case "waiting":
        if (this.info?.watching) return "You are watching: only the owner of the session can type.";
        return this.keys.bytes + n > maxHeld ? "There is no connection, and no more room to keep what you type." : "";
      case "elsewhere":
        return "The session continues elsewhere: take it back to type.";
      default:
        return "The session is not connected.";
    }
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
    const attachment = new Attachment(duplex, this.clock, (m) => this.message(m));
    this.attachment = attachment;
    const began = this.clock.now();
    const ticket = Uint8Array.from(atob(opening.ticket.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
    const outcome = await attachment.run(encodeAttach({ ticket, from: this.output.from, size: this.face.size(), client: this.client }));
    this.output.end();
    this.contact = attachment.contact;
    this.attachment = undefined;
    if (outcome.kind === "broken") this.way.lost(duplex);
    if (attachment.contactMade && this.clock.now() - began >= stable) this.failures = 0;
    return this.after(outcome);
  }

  private message(m: Message): void {
    const at = this.attachment;
    if (!at) return;
    if (m.type === "attached") return this.attached(m, at);
    switch (m.type) {
      case "data":
        this.output.data(m.bytes);
        break;
      case "ack":
        this.sent.ack(m.offset);
        void this.pump();
        if (this.paste) this.face.changed();
        break;
      case "resize":
        this.face.resized(m.size);
        break;
      case "notice":
        this.face.notice(m.text, m.code);
        break;
      case "watchers":
        this.watchers = m.names;
        this.face.changed();
    }
  }

  private attached(a: Attached, at: Attachment): void {
    at.contactMade = true;
    this.info = a;
    this.watchers = [];
    this.output.begin(a);
    this.sent.window = a.window;
    const { again, lost } = this.sent.resume(a.typed);
    this.heldKeys = 0;
    this.change({ name: "attached" });
    this.face.attached(a);
    if (a.watching) this.face.resized(a.size);
    if (lost) this.face.notice("Some of what you typed last may not have arrived.", 0);
    for (const b of again) at.send(encodeData(b));
    at.ping();
    void this.pump();
  }

  private async pump(): Promise<void> {
    const at = this.attachment;
    if (!at || this.pumping === at || this.state.name !== "attached") return;
    this.pumping = at;
    try {
      while (at === this.attachment && !this.keys.empty && this.sent.room >= longestCharacter) {
        const b = this.keys.take(Math.min(this.sent.room, chunk));
        if (b.length === 0) break;
        this.sent.push(b);
        at.send(encodeData(b));
        await at.duplex.drained();
      }
    } catch {
      // the connection broke; what was sent is kept for the next
    } finally {
      if (this.pumping === at) this.pumping = undefined;
    }
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

  private change(s: State): void {
    if (this.closed) return;
    this.state = s;
    this.face.changed();
  }
}
