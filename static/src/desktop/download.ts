import { Status, type InputStream } from "@glokon/guacamole-common-js";

const most = 2 ** 30; // bytes: a download is kept in memory until it is whole
const ok = Status.Code.SUCCESS;
const no = Status.Code.CLIENT_FORBIDDEN;

/** Catch is told what becomes of a download. */
export interface Catch {
  moved(bytes: number): void;
  there(file: Blob): void;
  failed(why: string): void; // "": it was stopped
}

/** Download takes one file off a stream of guacd's, a blob for each acknowledgement. */
export class Download {
  private parts: Uint8Array<ArrayBuffer>[] = [];
  private bytes = 0;
  private over = false;

  constructor(private readonly stream: InputStream, mimetype: string, private readonly to: Catch) {
    stream.onblob = (data) => {
      if (this.over) return;
      const b = decode(data);
      if (!b) return this.end("guacd sent something else than a file");
      this.bytes += b.length;
      if (this.bytes > most) return this.end(`it is larger than ${most} bytes: take it another way`);
      this.parts.push(b);
      to.moved(this.bytes);
      stream.sendAck("OK", ok);
    };
    stream.onend = () => {
      if (this.over) return;
      const parts = this.parts;
      this.drop();
      to.there(new Blob(parts, { type: mimetype }));
    };
    stream.sendAck("OK", ok);
  }

  /** stop gives it up. */
  stop(): void {
    this.end("");
  }

  /** lost says that the connection is gone. */
  lost(): void {
    if (this.over) return;
    this.drop();
    this.to.failed("the connection was lost: take it once more");
  }

  private end(why: string): void {
    if (this.over) return;
    this.drop();
    this.stream.sendAck("stopped", no);
    this.to.failed(why);
  }

  private drop(): void {
    this.over = true;
    this.parts = [];
  }
}

/** decode reads base64; undefined: it is none. */
export function decode(data: string): Uint8Array<ArrayBuffer> | undefined {
  try {
    return Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  } catch {
    return undefined;
  }
}
