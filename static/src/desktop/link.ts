import type { Attachment } from "../viewer/attachment";
import type { Clock } from "../viewer/clock";
import { Lifeline, type Way } from "../viewer/lifeline";
import { encodeAttach, type Attached, type Message } from "../wire/messages";
import { AttachmentTunnel, rhythm, type Rhythm } from "./tunnel";

/** Face is told what happens. */
export interface Face {
  changed(): void; // look at the link again
  attached(a: Attached, t: AttachmentTunnel): void; // a new picture comes through t
  notice(text: string): void;
}

const nowhere = { cols: 1, rows: 1 }; // a desktop's size is told by its own instructions

/** DesktopLink is the lifeline of a desktop: each attachment begins with a whole picture. */
export class DesktopLink extends Lifeline {
  private tunnel: AttachmentTunnel | undefined;

  constructor(way: Way, private readonly face: Face, clock: Clock, private readonly beat: Rhythm = rhythm) {
    super(way, clock);
  }

  protected override hello(ticket: Uint8Array): Uint8Array<ArrayBuffer> {
    return encodeAttach({ ticket, size: nowhere, client: this.client, back: !this.wished, asides: this.asides });
  }

  /** A desktop is joined anew: a key that is typed meanwhile, or a file that is on its way, would be lost. */
  protected override get resumes(): boolean {
    return false;
  }

  protected override parted(): void {
    this.tunnel?.end();
    this.tunnel = undefined;
  }

  protected override changed(): void {
    this.face.changed();
  }

  protected override message(m: Message, at: Attachment): void {
    switch (m.type) {
      case "attached":
        if (!m.desktop) return at.fail(`a session of the kind ${m.kind} is no desktop`);
        this.met(m, at);
        this.tunnel = new AttachmentTunnel(at, m, this.clock, this.beat);
        this.change({ name: "attached" });
        this.face.attached(m, this.tunnel);
        at.ping();
        break;
      case "data":
        this.tunnel?.receive(m.bytes);
        break;
      case "ack":
        if (this.tunnel?.acked(m.offset) === false) at.fail("the relay took more than was sent");
        break;
      case "notice":
        this.face.notice(m.text);
        break;
      case "watchers":
        this.watchers = m.names;
        this.face.changed();
    }
  }
}
