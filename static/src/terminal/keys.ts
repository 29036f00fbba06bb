// Input that waits to be sent: keys, in order, and now and then something large among them.

/** Source gives input piece by piece, so that 100 MB are never copied as a whole. */
export interface Source {
  /** next gives at most max bytes, and nothing when it is at its end. */
  next(max: number): Uint8Array<ArrayBuffer>;
  /** end makes what remains as short as it may be; what the far side waits for still comes. */
  end(): void;
  readonly total: number; // characters
  readonly done: number; // of them
}

/** Keys is the queue of what was typed and pasted and not yet sent. */
export class Keys {
  private readonly waiting: (Uint8Array<ArrayBuffer> | Source)[] = [];

  /** bytes is how much of it is typed keys. */
  bytes = 0;

  get empty(): boolean {
    return this.waiting.length === 0;
  }

  /** paste is the large one that is on its way or next. */
  get paste(): Source | undefined {
    return this.waiting.find((w): w is Source => !(w instanceof Uint8Array));
  }

  type(b: Uint8Array<ArrayBuffer>): void {
    const last = this.waiting.at(-1);
    if (last instanceof Uint8Array && last.length + b.length <= 1024) {
      const joined = new Uint8Array(last.length + b.length);
      joined.set(last);
      joined.set(b, last.length);
      this.waiting[this.waiting.length - 1] = joined;
    } else if (b.length > 0) this.waiting.push(b);
    this.bytes += b.length;
  }

  add(s: Source): void {
    this.waiting.push(s);
  }

  /** take removes at most max bytes from the front; nothing when it is empty. */
  take(max: number): Uint8Array<ArrayBuffer> {
    for (;;) {
      const first = this.waiting[0];
      if (first === undefined) return new Uint8Array(0);
      if (first instanceof Uint8Array) {
        const b = first.slice(0, max);
        if (b.length < first.length) this.waiting[0] = first.slice(max);
        else this.waiting.shift();
        this.bytes -= b.length;
        return b;
      }
      const b = first.next(max);
      if (b.length > 0) return b;
      this.waiting.shift();
    }
  }

  /** cancelPastes ends the large ones; the keys among them stay. */
  cancelPastes(): void {
    for (const w of this.waiting) if (!(w instanceof Uint8Array)) w.end();
  }

  clear(): void {
    this.waiting.length = 0;
    this.bytes = 0;
  }
}
