import type { Attachment } from "../viewer/attachment";
import type { Clock } from "../viewer/clock";
import { Lifeline, type Way } from "../viewer/lifeline";
import { encodeAnswer, encodeAttach, encodeGiveUp, type Ask, type Attached, type Message, type Said } from "../wire/messages";

// All that the pages need of a session without a terminal stands here: it is a session whose first channel is
// a hold (wire/channel.go). It is attached to like a terminal, with a size that means nothing. Behind Attached come Notice,
// Watchers, Pong and Exit, and nothing else.

/** channel is what POST /scrier/connect calls it. */
export const channel = "hold";

/** Face is told what happens. */
export interface Face {
  changed(): void;
  attached(a: Attached): void;
  notice(text: string): void;
  heard(m: Said | Ask): void; // what the machine says and asks before the session is open
}

/** Hold is the lifeline of a session that nothing is seen of. */
export class Hold extends Lifeline {
  constructor(way: Way, private readonly face: Face, clock: Clock) {
    super(way, clock);
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

  protected override hello(ticket: Uint8Array): Uint8Array<ArrayBuffer> {
    return encodeAttach({ ticket, size: { cols: 80, rows: 24 }, client: this.client, back: !this.wished, answers: true });
  }

  protected override parted(): void {
    // nothing is kept
  }

  protected override changed(): void {
    this.face.changed();
  }

  protected override message(m: Message, at: Attachment): void {
    switch (m.type) {
      case "attached":
        this.met(m, at);
        this.change({ name: "attached" });
        this.face.attached(m);
        at.ping();
        break;
      case "notice":
        this.face.notice(m.text);
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
        break;
      case "data":
        // A session whose first channel is a shell: only its bytes would tell, and they are not for this page.
        at.fail("the session is a terminal, not one for files");
    }
  }
}
