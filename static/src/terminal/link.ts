import { encodeAnswer, encodeAttach, encodeData, encodeGiveUp, encodeResize, clamp, type Ask, type Attached, type Message, type Said, type Size } from "../wire/messages";
import type { Attachment } from "../viewer/attachment";
import type { Clock } from "../viewer/clock";
import { Lifeline, type Way } from "../viewer/lifeline";
import { Sent } from "./input";
import { Keys, type Source } from "./keys";
import { Output, type Screen } from "./output";

/** Face is told what happens. */
export interface Face extends Screen {
  size(): Size;
  skips(): boolean; // output may be left out when Ctrl-C is typed
  changed(): void; // look at the link again
  attached(a: Attached): void;
  resized(s: Size): void; // the owner's terminal, while watching
  notice(text: string, code: number): void;
  heard(m: Said | Ask): void; // what the machine says and asks before there is a shell
  refused(why: string): void; // something typed was not taken
}

const maxHeld = 4 << 10; // bytes of keys that wait for a connection
const maxTyped = 64 << 10; // bytes of keys that wait for a shell that does not read
const chunk = 16 << 10; // bytes of input in a frame
const longestCharacter = 4; // bytes of UTF-8: less room than this is none
const resizeEvery = 100; // ms

/** Link is the lifeline of a terminal: output and input go on at the byte where they were. */
export class Link extends Lifeline {
  /** heldKeys is how many keys were typed without a connection. */
  heldKeys = 0;

  private readonly output: Output;
  private readonly sent = new Sent();
  private readonly keys = new Keys();
  private pumping: Attachment | undefined;
  private resize: { cancel?: (() => void) | undefined; at: number; size?: Size | undefined } = { at: -Infinity };

  constructor(way: Way, private readonly face: Face, clock: Clock, private readonly answers = false) {
    super(way, clock);
    this.output = new Output(face, clock, (offset) => this.attachment?.ack(offset));
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
    this.tellSize(); // what comes first takes effect first
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
    const wait = this.resize.at + resizeEvery - this.clock.now();
    if (wait <= 0) this.tellSize();
    else this.resize.cancel = this.clock.after(wait, () => this.tellSize());
  }

  /** answer answers what the machine asks. */
  answer(id: number, texts: Uint8Array[]): void {
    this.attachment?.send(encodeAnswer(id, texts));
  }

  /** giveUp ends a session that is not open yet. */
  giveUp(): void {
    if (this.attachment) this.attachment.send(encodeGiveUp());
    else this.close();
  }

  private tellSize(): void {
    this.resize.cancel?.();
    this.resize.cancel = undefined;
    if (this.resize.size && this.state.name === "attached" && !this.info?.watching) {
      this.resize.at = this.clock.now();
      this.attachment?.send(encodeResize(this.resize.size));
    }
    this.resize.size = undefined;
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

  protected override hello(ticket: Uint8Array): Uint8Array<ArrayBuffer> {
    return encodeAttach({ ticket, from: this.output.from, size: this.face.size(), client: this.client, skip: this.face.skips(), prompt: true, paint: true, back: !this.wished, answers: this.answers, asides: this.asides });
  }

  protected override parted(): void {
    this.output.end();
  }

  protected override changed(): void {
    this.face.changed();
  }

  protected override message(m: Message, at: Attachment): void {
    if (m.type === "attached") return this.attached(m, at);
    switch (m.type) {
      case "data":
        this.output.data(m.bytes);
        break;
      case "skip":
        this.output.leaveOut(m.screen, m.to, m.more);
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
      case "said":
      case "ask":
        at.contactMade = true;
        this.wished = false; // from now on it comes back by itself
        this.face.heard(m);
        break;
      case "watchers":
        this.watchers = m.names;
        this.face.changed();
    }
  }

  private attached(a: Attached, at: Attachment): void {
    this.met(a, at);
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
}
