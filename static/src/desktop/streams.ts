/** Acked is told what guacd says of a stream; from 0x0100 on it is an error. */
export type Acked = (status: number, text: string) => void;

// guacd has 64 streams of each viewer's. The library counts its own from 0, and has few at once.
const first = 32;
const many = 32;

/**
 * Streams are those that this page opens by itself, beside the library's. The library uses an index
 * again as soon as the stream has ended, and takes the acknowledgement of that end for the next one's.
 * Here an index comes back last.
 */
export class Streams {
  private readonly open = new Map<number, Acked>();
  private last = many - 1;

  /** take gives the index of a new stream; undefined: too many are open. */
  take(acked: Acked): number | undefined {
    for (let n = 1; n <= many; n++) {
      const at = (this.last + n) % many;
      if (this.open.has(first + at)) continue;
      this.last = at;
      this.open.set(first + at, acked);
      return first + at;
    }
    return undefined;
  }

  /** give returns an index; what guacd still says of it is not heard. */
  give(index: number): void {
    this.open.delete(index);
  }

  /** ack takes the arguments of guacd's instruction; false: the stream is not of these. */
  ack([stream, text, status]: string[]): boolean {
    const index = Number(stream);
    if (!(index >= first && index < first + many)) return false;
    this.open.get(index)?.(Number(status), text ?? "");
    return true;
  }
}
