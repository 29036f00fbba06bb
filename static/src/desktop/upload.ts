import type { Clock } from "../viewer/clock";
import type { Streams } from "./streams";

/** Drive is where an upload goes: one of the folders that guacd shows, over one attachment. */
export interface Drive {
  readonly object: number; // guacd's number of it
  readonly streams: Streams;
  send(...elements: (string | number)[]): void;
}

/** Fate is how an upload came to its end; a reason is for people. */
export type Fate = { there: true } | { there: false; why: string };

/** What an upload is told to do, and tells. */
export interface Order {
  file: Blob;
  path: string;
  type: string;
  moved(taken: number): void; // guacd has taken so many bytes
  over(f: Fate): void; // once; nothing is told after it
}

const chunk = 6048; // bytes of a blob: guacd's own bound is 8192 characters of base64
const ahead = 8; // chunks that may be without an answer: 48 kB, behind which a key does not wait for long
const block = 100 * chunk; // bytes that are read of the file at once
const silence = 60_000; // ms without an answer after which there is none

/**
 * Upload puts one file on the drive. guacd answers the stream itself, then each blob, then the end: an
 * answer is never taken for another one's.
 *
 *   opening --ack--> sending --ack of the last blob--> ending --ack--> there
 *      '--------------- an error, silence, a file that cannot be read, stop ---------------> not there
 */
export class Upload {
  private state: "opening" | "sending" | "ending" | "over" = "opening";
  private readonly index: number | undefined;
  private at = 0; // what was sent of the file
  private taken = 0; // and what guacd has
  private flight: number[] = []; // the lengths of what it has not answered yet
  private read: Uint8Array = new Uint8Array(0);
  private pumping = false;
  private cancel: () => void = () => {};

  constructor(private readonly drive: Drive, private readonly order: Order, private readonly clock: Clock) {
    this.index = drive.streams.take((status, text) => this.ack(status, text));
    if (this.index === undefined) {
      clock.after(0, () => this.finish({ there: false, why: "too many transfers are under way" }));
      return;
    }
    drive.send("put", drive.object, this.index, order.type, order.path);
    this.watch();
  }

  /** stop gives it up. What guacd has of the file stays there. */
  stop(why: string): void {
    if (this.state === "over") return;
    // guacd keeps the file open until the stream ends.
    if (this.index !== undefined && this.state !== "ending") this.drive.send("end", this.index);
    this.finish({ there: false, why });
  }

  /** drop is stop where there is nobody any more who could be told. */
  drop(): void {
    this.leave();
  }

  private ack(status: number, text: string): void {
    if (!(status < 0x0100)) return this.stop(`guacd says ${text === "" ? status : text}`);
    this.watch();
    switch (this.state) {
      case "opening":
        this.state = "sending";
        break;
      case "sending":
        this.taken += this.flight.shift() ?? 0; // one answer too many is none
        this.order.moved(this.taken);
        break;
      case "ending":
        return this.finish({ there: true });
    }
    void this.pump();
  }

  // pump sends as much as may be on its way, and the end when guacd has all of it.
  private async pump(): Promise<void> {
    if (this.pumping) return;
    this.pumping = true;
    try {
      while (this.state === "sending" && this.flight.length < ahead && this.at < this.order.file.size) {
        if (this.read.length === 0) {
          this.read = new Uint8Array(await this.order.file.slice(this.at, this.at + block).arrayBuffer());
          if (this.read.length === 0) throw new Error("it is shorter than it was");
          continue; // it may be over by now
        }
        const b = this.read.subarray(0, chunk);
        this.read = this.read.subarray(b.length);
        this.at += b.length;
        this.flight.push(b.length);
        this.drive.send("blob", this.index ?? -1, btoa(String.fromCharCode(...b)));
      }
      if (this.state !== "sending" || this.at < this.order.file.size || this.flight.length > 0) return;
      this.state = "ending";
      this.drive.send("end", this.index ?? -1);
    } catch (err) {
      this.stop(`it cannot be read: ${err instanceof Error ? err.message : String(err)}`);
    } finally {
      this.pumping = false;
    }
  }

  private watch(): void {
    this.cancel();
    this.cancel = this.clock.after(silence, () => this.stop("guacd does not answer"));
  }

  private finish(f: Fate): void {
    if (this.state === "over") return;
    this.leave();
    this.order.over(f);
  }

  private leave(): void {
    this.state = "over";
    this.cancel();
    this.read = new Uint8Array(0);
    if (this.index !== undefined) this.drive.streams.give(this.index);
  }
}
