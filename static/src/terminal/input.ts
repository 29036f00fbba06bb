import { maxData } from "../wire/frames";

/**
 * Sent is the input that is on its way: numbered by bytes, kept until the relay has taken it, and
 * sent once more to a link that comes after the one it was sent on.
 */
export class Sent {
  private pieces: Uint8Array<ArrayBuffer>[] = []; // from taken on, at most window bytes
  private taken = 0; // how much the relay has said it took
  private arrived = 0; // how much of that has arrived at the shell, as far as is known
  private end = 0; // behind the last byte of pieces
  private discarded = false;
  window = 0;

  /** room is how many bytes may follow now. */
  get room(): number {
    return this.window - (this.end - this.arrived); // the relay holds what has not arrived
  }

  get unacked(): number {
    return this.discarded ? 0 : this.end - this.taken;
  }

  push(b: Uint8Array<ArrayBuffer>): void {
    this.pieces.push(b);
    this.end += b.length;
  }

  /** ack is told what has arrived at the shell. */
  ack(offset: number): void {
    if (this.drop(offset)) this.arrived = Math.max(this.arrived, offset);
  }

  // drop forgets what the relay took; false: it says more than was sent.
  private drop(offset: number): boolean {
    if (offset > this.end) return false;
    while (this.taken < offset) {
      const first = this.pieces[0];
      if (first === undefined) return false;
      const n = Math.min(first.length, offset - this.taken);
      if (n === first.length) this.pieces.shift();
      else this.pieces[0] = first.subarray(n);
      this.taken += n;
    }
    return true;
  }

  /** discard gives up what the relay has not taken: it is not sent again. */
  discard(): void {
    this.discarded = true;
  }

  /**
   * resume is told Attached.typed: it gives what is to be sent again. When the relay knows less
   * than it once took, or more than we sent, nobody can say what arrived: then lost is true and
   * the numbers begin where the relay says.
   */
  resume(typed: number): { again: Uint8Array<ArrayBuffer>[]; lost: boolean } {
    if (this.discarded || typed < this.taken || !this.drop(typed)) {
      const lost = this.unacked > 0 && !this.discarded;
      this.discarded = false;
      this.pieces = [];
      this.taken = this.end = typed;
      this.arrived = Math.max(typed - this.window, 0);
      return { again: [], lost };
    }
    this.arrived = Math.max(this.arrived, typed - this.window); // the relay holds no more
    return { again: this.pieces.flatMap(split), lost: false };
  }
}

function split(b: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer>[] {
  const out: Uint8Array<ArrayBuffer>[] = [];
  for (let at = 0; at < b.length; at += maxData) out.push(b.subarray(at, at + maxData));
  return out;
}
