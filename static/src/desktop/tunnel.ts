import { Tunnel } from "@glokon/guacamole-common-js";
import type { Attachment } from "../viewer/attachment";
import type { Clock } from "../viewer/clock";
import { encodeData, type Attached } from "../wire/messages";
import { breath } from "./breath";
import { Intake } from "./intake";
import { Outbox } from "./outbox";
import { Streams } from "./streams";

/** What a browser gives that tests do not have. */
export interface Rhythm {
  frame(f: () => void): void;
  breath(): Promise<void>;
}

export const rhythm: Rhythm = { frame: (f) => void requestAnimationFrame(f), breath };

/** What a viewer that may only look does not send. */
const hands = new Set(["key", "mouse", "touch", "size", "clipboard"]);

/** What belongs to one stream: an error in it is not the desktop's end. */
const aside = new Set(["ack", "blob", "end", "body", "file", "filesystem", "undefine", "clipboard", "audio"]);

/**
 * AttachmentTunnel is the library's tunnel over one attachment. It is of no use after that one: the
 * next begins with a whole picture, and a new client.
 */
export class AttachmentTunnel extends Tunnel {
  /** streams are the page's own, beside the library's. */
  readonly streams = new Streams();

  private readonly intake: Intake;
  private readonly outbox: Outbox;

  constructor(at: Attachment, a: Attached, clock: Clock, r: Rhythm = rhythm) {
    super();
    const look = a.watching || a.desktop?.view === true;
    this.outbox = new Outbox({
      send: (b) => at.send(encodeData(b)),
      backlog: () => at.duplex.backlog,
      frame: (f) => r.frame(f),
      overflow: () => at.close(),
    }, clock, a.window);
    this.intake = new Intake({
      instruction: (opcode, args) => {
        // How it ended, Exit tells.
        if (opcode === "disconnect" || opcode === "error") return;
        try {
          if (opcode !== "ack" || !this.streams.ack(args)) this.oninstruction?.(opcode, args);
        } catch (err) {
          if (!aside.has(opcode)) throw err;
          console.error(`what guacd sent as ${opcode} was not understood`, err);
        }
      },
      ack: (offset) => at.ack(offset),
      failed: (detail) => at.fail(detail),
      breath: () => r.breath(),
    }, clock);
    // The library's constructor sets these on the object: methods of this class would not count.
    this.connect = () => {
      this.setUUID(a.session);
      this.setState(Tunnel.State.OPEN);
    };
    this.disconnect = () => this.end();
    this.sendMessage = (...elements: (string | number | boolean)[]) => {
      const [opcode, x, y, mask] = elements;
      if (!this.isConnected() || opcode === "disconnect" || (look && hands.has(String(opcode)))) return;
      if (opcode === "mouse") this.outbox.mouse(Number(x), Number(y), Number(mask));
      else this.outbox.message(...elements.map((e) => (typeof e === "boolean" ? Number(e) : e)));
    };
  }

  /** receive takes bytes that came. */
  receive(b: Uint8Array): void {
    this.intake.data(b);
  }

  /** acked is how much of the input the relay has taken; false: more than there was. */
  acked(offset: number): boolean {
    return this.outbox.ack(offset);
  }

  /** end lets go of the attachment, which is over. */
  end(): void {
    this.intake.end();
    this.outbox.end();
    this.setState(Tunnel.State.CLOSED);
  }
}
