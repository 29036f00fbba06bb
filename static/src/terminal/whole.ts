/**
 * Whole cuts UTF-8 only between characters: what a character lacks comes with the next bytes. xterm loses one that
 * it is given in two pieces if the second begins with byte 0x80. Bytes that are not UTF-8 pass as they are.
 */
export class Whole {
  private rest = new Uint8Array(0); // the beginning of a character, three bytes at most

  /** take returns what can be shown now. */
  take(b: Uint8Array): Uint8Array {
    if (this.rest.length > 0) {
      const joined = new Uint8Array(this.rest.length + b.length);
      joined.set(this.rest);
      joined.set(b, this.rest.length);
      b = joined;
    }
    const end = b.length - unfinished(b);
    this.rest = b.slice(end);
    return b.subarray(0, end);
  }
}

/** unfinished is how many bytes at the end of b are the beginning of a character (RFC 3629). */
function unfinished(b: Uint8Array): number {
  for (let n = 1; n <= Math.min(3, b.length); n++) {
    const c = b[b.length - n]!;
    if (c >= 0xc0) return n < (c >= 0xf0 ? 4 : c >= 0xe0 ? 3 : 2) ? n : 0;
    if (c < 0x80) return 0;
  }
  return 0;
}
