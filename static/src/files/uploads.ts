import { Path, type Name } from "../api/path";
import { Problem } from "../api/problem";
import type { Folder, Piece } from "../api/files";
import type { Clock } from "../viewer/clock";
import { fit, numbered } from "./name";
import type { Found } from "./walk";

/** Store is what uploads need of a machine's files. */
export interface Store {
  put(p: Path, piece: Piece, signal: AbortSignal, moved: (bytes: number) => void): Promise<void>;
  offset(p: Path, size: number, o: { signal: AbortSignal }): Promise<number>;
  makeFolder(p: Path, o: { signal: AbortSignal }): Promise<void>;
  list(p: Path, o: { signal: AbortSignal }): Promise<Folder>;
  giveUp(p: Path, size: number, o: { signal: AbortSignal }): Promise<void>;
}

/** Answer is what becomes of a file whose name is taken. */
export interface Answer {
  what: "replace" | "skip" | "both";
  all: boolean; // also for those that follow
}

/** Face is told what happens. */
export interface Face {
  changed(): void;
  /** ask asks the person, one question at a time; undefined: they give all of it up. */
  ask(i: Item): Promise<Answer | undefined>;
  /** arrived says that something is new in a folder. */
  arrived(folder: Path): void;
}

type State = "waits" | "goes" | "asks" | "there" | "skipped" | "failed" | "cancelled";

/** Item is one file, or folder, on its way to the machine. */
export interface Item {
  readonly batch: Batch;
  readonly folder: Path; // in which it goes
  readonly file: File | undefined; // undefined: a folder
  name: string;
  sent: number; // bytes
  state: State;
  why: string; // it failed
  began: number | undefined; // ms; it goes
}

// Batch is what was chosen at once: one answer counts for all of it.
interface Batch {
  readonly into: Path;
  answer: Answer["what"] | undefined;
  over: boolean; // no more of it comes
}

// Details are what a run knows of an item.
interface Details {
  overwrite: boolean;
  broken: boolean; // a part of it may be there
  begun: boolean; // and was made by this one
  last: boolean; // the piece that is sent is the last one
  whole: boolean; // a last one was sent, and its answer lost: all of it may be there
  careful: boolean; // a relay that refuses a piece need not read it; where that breaks the connection, the browser does not tell why unless it is small
  number: number; // of the name beside one that is taken
  of: string; // that name
}

/** below is an item's path from the folder that it was dropped into. */
export function below(i: Item): string {
  return [...i.folder.names.slice(i.batch.into.names.length).map((n) => n.text), i.name].join("/");
}

/** Totals are what there is to say of everything since nothing was on its way. */
export interface Totals {
  files: number;
  bytes: number;
  done: number; // files that are there
  sent: number; // bytes
  skipped: number;
  cancelled: number;
  failed: number;
  looking: boolean; // more may come: folders are still read
}

const mostLitter = 1000; // uploads that were given up, of which a part may be there
const litterTries = 5; // a request that was cut off may still be at work
const abreast = 4; // transfers at once
const lookahead = 16; // that are looked at for one whose place is free
const mostItems = 100_000; // that wait
const mostFailed = 1000; // that are kept, to be told and tried again
const smallest = 64 << 10; // bytes of a piece
const first = 512 << 10;
const largest = 8 << 20;
const quick = 500; // ms: a piece that took less may be larger
const slow = 3000; // ms: and one that took more, smaller
const backoff = [500, 1000, 2000, 4000, 8000, 10_000]; // ms
const rumour = 1500; // ms until the end of a session is known here
const ownFault = new Set(["bad_request", "channel_not_allowed", "file_denied", "file_failed", "file_nospace", "internal"]); // never the session's end
const mostTries = 60; // without a byte that arrived: about ten minutes
const mostNames = 1000; // "a (2)", "a (3)", …
const sameTime = 2000; // ms: what file systems make of a time

/**
 * Uploads are the files on their way to a machine, a few at a time, piece by piece, so that one goes on where it
 * was when its connection broke. They outlive a session: while there is none they wait.
 *
 *   waits ---> goes ---> there
 *     ^         |------> failed, cancelled
 *     |         '------> asks (the name is taken) ---> skipped
 *     '--------------------'
 */
export class Uploads {
  readonly failures: Item[] = [];
  private readonly waiting: Item[] = [];
  private readonly asking: Item[] = [];
  private readonly going = new Map<Item, AbortController>();
  private readonly folders = new Map<string, Promise<void>>(); // those that were made
  private readonly details = new WeakMap<Item, Details>();
  private readonly batches = new Set<Batch>(); // that are still read
  private litter: { to: Path; size: number; tries: number }[] = [];
  private sweeping = false;
  private question = false;
  private store: Store | undefined;
  private connection = new AbortController(); // of the store
  private wake: (() => void)[] = []; // who waits for a store
  private piece = first;
  private t = none();

  constructor(private readonly clock: Clock, private readonly face: Face) {}

  get totals(): Readonly<Totals> {
    return { ...this.t, looking: this.batches.size > 0 };
  }

  /** busy says that something is on its way or waits. */
  get busy(): boolean {
    return this.going.size + this.waiting.length + this.asking.length + this.batches.size > 0;
  }

  /** paused says that there is no connection. */
  get paused(): boolean {
    return this.store === undefined;
  }

  /** active are those that go now. */
  get active(): Item[] {
    return [...this.going.keys()];
  }

  /** use sends to this store from now on. */
  use(s: Store): void {
    if (this.store === s) return;
    this.lost();
    this.store = s;
    this.connection = new AbortController();
    for (const f of this.wake.splice(0)) f();
    this.next();
    void this.sweep();
  }

  /** lost says that there is no connection; another may come. */
  lost(): void {
    if (!this.store) return;
    this.store = undefined;
    this.folders.clear();
    this.connection.abort(lost);
    this.face.changed();
  }

  /** add takes what was chosen for a folder; it is read while the first of it goes already. */
  async add(found: AsyncIterable<Found>, into: Path): Promise<void> {
    if (!this.busy) {
      this.forget();
      this.folders.clear();
    }
    const batch: Batch = { into, answer: undefined, over: false };
    this.batches.add(batch);
    this.face.changed();
    try {
      for await (const f of found) {
        if (batch.over) break;
        this.take(batch, f);
      }
    } finally {
      batch.over = true;
      this.batches.delete(batch);
      this.face.changed();
    }
  }

  /** cancel gives up one, or all. */
  cancel(item?: Item): void {
    if (!item) for (const b of this.batches) b.over = true;
    for (const list of [this.waiting, this.asking]) {
      for (const i of item ? list.filter((x) => x === item) : [...list]) {
        list.splice(list.indexOf(i), 1);
        this.end(i, "cancelled");
      }
      if (!item) list.length = 0;
    }
    for (const [i, stop] of this.going) if (!item || i === item) stop.abort(cancelled);
    this.face.changed();
  }

  /** retry tries again what failed, and goes on with what is there of it. */
  retry(): void {
    this.folders.clear();
    for (const i of this.failures.splice(0)) {
      this.t.failed--;
      this.t.bytes += i.file?.size ?? 0;
      i.why = "";
      const d = this.details.get(i)!;
      d.broken ||= d.begun;
      d.careful = true;
      this.wait(i);
    }
    this.next();
    this.face.changed();
  }

  /** forget drops what is said of what is over. */
  forget(): void {
    if (this.busy) return;
    this.t = none();
    for (const i of this.failures.splice(0)) this.drop(i);
    this.face.changed();
  }

  private take(batch: Batch, f: Found): void {
    const name = f.names.at(-1) ?? "";
    const above = f.names.slice(0, -1).map((text): Name => ({ text: whole(text) }));
    const item: Item = { batch, folder: batch.into.join(...above), file: f.file, name: whole(name), sent: 0, state: "waits", why: "", began: undefined };
    this.details.set(item, { overwrite: false, broken: false, begun: false, last: false, whole: false, careful: true, number: 1, of: item.name });
    this.t.files++;
    this.t.bytes += f.file?.size ?? 0;
    const bad = f.why ?? f.names.map((n) => fit(whole(n))).find((w) => w !== undefined) ?? (this.waiting.length >= mostItems ? `${mostItems.toLocaleString()} files wait already` : undefined);
    if (bad !== undefined) this.end(item, "failed", bad);
    else this.wait(item);
    this.next();
    this.face.changed();
  }

  private wait(i: Item, ahead = false): void {
    i.state = "waits";
    i.began = undefined;
    if (ahead) this.waiting.unshift(i);
    else this.waiting.push(i);
  }

  private next(): void {
    while (this.store && this.going.size < abreast) {
      // Two to one name go one behind the other: the second finds the first there.
      const taken = new Set([...this.going.keys()].map(target));
      const n = this.waiting.slice(0, lookahead).findIndex((i) => !taken.has(target(i)));
      const item = n === 0 ? this.waiting.shift() : this.waiting.splice(n, n < 0 ? 0 : 1)[0];
      if (!item) return;
      const stop = new AbortController();
      this.going.set(item, stop);
      item.state = "goes";
      item.began = this.clock.now();
      void this.run(item, stop.signal).then(() => {
        this.going.delete(item);
        this.next();
        this.face.changed();
      });
    }
  }

  // run brings one there, over as many connections as it takes.
  private async run(i: Item, signal: AbortSignal): Promise<void> {
    const d = this.details.get(i)!;
    for (let tries = 0; ; ) {
      let store: Store;
      try {
        store = await this.ready(signal);
      } catch {
        return this.end(i, "cancelled");
      }
      const before = i.sent;
      const both = AbortSignal.any([signal, this.connection.signal]);
      try {
        await this.once(store, i, both);
        if (i.file) this.moved(i, i.file.size);
        this.end(i, "there");
        this.face.arrived(i.folder);
        return;
      } catch (err) {
        if (signal.aborted) return this.end(i, "cancelled");
        const p = Problem.from(err);
        const conflict = !both.aborted && p.code === "conflict" && i.file !== undefined;
        if (conflict && (await this.taken(store, i, both))) return this.clash(i);
        if (!both.aborted && p.signIn) this.lost(); // until somebody has signed in
        // It may be the session that has ended, of which nobody has heard yet.
        if (!both.aborted && !conflict && !p.passing && !ownFault.has(p.code)) await this.pause(rumour, both);
        if (!both.aborted && !conflict && !p.passing) return this.end(i, "failed", reason(p, i));
        d.broken = d.careful = true;
        d.whole ||= d.last;
        if (both.aborted) continue;
        const unread = await unreadable(i);
        if (unread !== undefined) return this.end(i, "failed", unread);
        tries = i.sent > before ? 0 : tries + 1;
        if (tries > mostTries) return this.end(i, "failed", reason(p, i));
        this.face.changed();
        await this.pause(backoff[Math.min(tries, backoff.length - 1)]!, both);
      }
    }
  }

  // once is one attempt.
  private async once(store: Store, i: Item, signal: AbortSignal): Promise<void> {
    const d = this.details.get(i)!;
    await this.above(store, i, signal);
    const to = i.folder.join({ text: i.name });
    if (!i.file) return this.made(store, to, signal);
    const { size } = i.file;
    const modified = timeOf(i.file);
    let offset = 0;
    d.last = false;
    if (d.whole && (await this.arrivedAlready(store, i, signal))) return;
    if (d.broken) {
      offset = await store.offset(to, size, { signal });
      if (!(offset >= 0 && offset <= size)) offset = 0;
      // The last piece with nothing in it would say that the file is whole.
      if (offset === size && size > 0) offset = Math.max(0, size - smallest);
    }
    this.moved(i, offset);
    do {
      const body = i.file.slice(offset, offset + (d.careful ? smallest : this.piece));
      const began = this.clock.now();
      d.last = offset + body.size >= size;
      d.begun = true;
      const at = offset;
      await store.put(to, { body, size, offset, modified, overwrite: d.overwrite }, signal, (bytes) => this.moved(i, at + Math.min(bytes, body.size)));
      offset += body.size;
      d.careful = false;
      this.moved(i, offset);
      if (body.size === 0 && offset < size) throw Problem.of("bad_request", "It is shorter than it was.");
      if (body.size === this.piece) this.suit(this.clock.now() - began);
    } while (offset < size);
  }

  // suit finds a size of pieces that is told of often enough, and costs few round trips.
  private suit(took: number): void {
    if (took < quick) this.piece = Math.min(this.piece * 2, largest);
    else if (took > slow) this.piece = Math.max(this.piece / 2, smallest);
  }

  // above makes the folders that came with it.
  private async above(store: Store, i: Item, signal: AbortSignal): Promise<void> {
    for (let n = i.batch.into.names.length + 1; n <= i.folder.names.length; n++) await this.made(store, new Path(i.folder.names.slice(0, n)), signal);
  }

  private made(store: Store, p: Path, signal: AbortSignal): Promise<void> {
    const key = p.key;
    let m = this.folders.get(key);
    if (!m) {
      m = store.makeFolder(p, { signal: this.connection.signal }).then(() => this.face.arrived(p.parent), (err: unknown) => {
        const problem = Problem.from(err);
        if (problem.code === "conflict") return; // it is there; if it is no folder, what goes into it says so
        if (this.connection.signal.aborted || problem.passing) this.folders.delete(key);
        throw err;
      });
      this.folders.set(key, m);
    }
    return Promise.race([m, aborted(signal)]);
  }

  // clash has the person say what becomes of a name that is taken.
  private clash(i: Item): void {
    const d = this.details.get(i)!;
    if (d.number > 1 && d.number < mostNames) return this.settle(i, "both"); // that one is taken as well
    if (d.number >= mostNames) return this.end(i, "failed", "every name beside it is taken");
    if (i.batch.answer) return this.settle(i, i.batch.answer);
    i.state = "asks";
    this.asking.push(i);
    void this.ask();
  }

  private async ask(): Promise<void> {
    if (this.question) return;
    this.question = true;
    for (let i = this.asking[0]; i; i = this.asking[0]) {
      const answer = i.batch.answer ? { what: i.batch.answer, all: true } : await this.face.ask(i);
      const n = this.asking.indexOf(i);
      if (n < 0) continue; // it was given up meanwhile
      if (!answer) {
        this.cancel();
        break;
      }
      if (answer.all) i.batch.answer = answer.what;
      this.asking.splice(n, 1);
      this.settle(i, answer.what);
      this.next();
      this.face.changed();
    }
    this.question = false;
  }

  private settle(i: Item, what: Answer["what"]): void {
    const d = this.details.get(i)!;
    if (what !== "replace") this.drop(i);
    if (what === "skip") return this.end(i, "skipped");
    if (what === "replace") d.overwrite = true;
    else {
      i.name = numbered(d.of, ++d.number);
      d.broken = d.whole = false;
      d.careful = true;
      this.moved(i, 0);
    }
    this.wait(i, true);
  }

  // taken says whether there is something of that name. A conflict is also told of an upload that is out of step, or of
  // which a request that was cut off is still at work: that one is tried again.
  private async taken(store: Store, i: Item, signal: AbortSignal): Promise<boolean> {
    try {
      await store.list(i.folder.join({ text: i.name }), { signal });
    } catch (err) {
      return !signal.aborted && Problem.from(err).code !== "not_found"; // a file is no folder
    }
    return true;
  }

  // drop has what is there of an upload removed.
  private drop(i: Item): void {
    if (!i.file || !this.details.get(i)?.begun) return;
    this.details.get(i)!.begun = false;
    if (this.litter.length < mostLitter) this.litter.push({ to: i.folder.join({ text: i.name }), size: i.file.size, tries: 0 });
    void this.sweep();
  }

  private async sweep(): Promise<void> {
    if (this.sweeping) return;
    this.sweeping = true;
    for (let l = this.litter[0]; l && this.store; l = this.litter[0]) {
      const { signal } = this.connection;
      try {
        await this.store.giveUp(l.to, l.size, { signal });
      } catch {
        if (signal.aborted) continue;
        if (++l.tries < litterTries) {
          await this.pause(backoff[l.tries]!, signal);
          continue;
        }
      }
      this.litter.shift();
    }
    this.sweeping = false;
  }

  // arrivedAlready says whether what has its name is this very file, of which only the last answer was lost.
  private async arrivedAlready(store: Store, i: Item, signal: AbortSignal): Promise<boolean> {
    const { entries } = await store.list(i.folder, { signal });
    const e = entries.find((x) => x.name === i.name && x.raw === undefined);
    return e?.kind === "file" && e.size === i.file?.size && Math.abs(Date.parse(e.modified) - timeOf(i.file)) <= sameTime;
  }

  private moved(i: Item, sent: number): void {
    this.t.sent += sent - i.sent;
    i.sent = sent;
    this.face.changed();
  }

  private end(i: Item, state: "there" | "skipped" | "failed" | "cancelled", why = ""): void {
    if (state === "there") this.details.get(i)!.begun = false;
    else if (state === "cancelled") this.drop(i);
    i.state = state;
    i.why = why;
    if (state !== "there") {
      this.t.bytes -= i.file?.size ?? 0;
      this.t.sent -= i.sent;
      i.sent = 0;
    }
    if (state === "there") this.t.done++;
    else this.t[state]++;
    if (state === "failed" && this.failures.length < mostFailed) this.failures.push(i);
    this.face.changed();
  }

  // ready waits for a connection.
  private async ready(signal: AbortSignal): Promise<Store> {
    for (;;) {
      signal.throwIfAborted();
      if (this.store) return this.store;
      await Promise.race([new Promise<void>((done) => this.wake.push(done)), aborted(signal)]);
    }
  }

  private async pause(ms: number, signal: AbortSignal): Promise<void> {
    let cancel = () => {};
    await Promise.race([new Promise<void>((done) => (cancel = this.clock.after(ms, done))), aborted(signal)]).catch(() => {});
    cancel();
  }
}

const lost = new Error("the connection is lost");
const cancelled = new Error("cancelled");

const none = (): Totals => ({ files: 0, bytes: 0, done: 0, sent: 0, skipped: 0, cancelled: 0, failed: 0, looking: false });

const target = (i: Item): string => `${i.folder.key}/${i.name}`;

// timeOf is when a file was changed, as far as a machine can be told: SFTP has 32 bits of seconds.
const timeOf = (f: File): number => Math.min(Math.max(Math.trunc(f.lastModified), 0), (2 ** 32 - 1) * 1000);

// whole is a name as it can be sent: half of a surrogate pair is no character.
const whole = (name: string): string => name.replace(/\p{Surrogate}/gu, "\ufffd");

function aborted(signal: AbortSignal): Promise<never> {
  return new Promise((_, failed) => {
    if (signal.aborted) return failed(signal.reason);
    signal.addEventListener("abort", () => failed(signal.reason), { once: true });
  });
}

// reason is why one was not taken; the machine's words begin with its path, which is told anyway.
function reason(p: Problem, i: Item): string {
  const path = `${i.folder.join({ text: i.name }).text}: `;
  return p.detail === "" ? p.title : p.detail.startsWith(path) ? p.detail.slice(path.length) : p.detail;
}

// unreadable says why a file is no longer what was chosen: a browser tells that like a network that is gone.
async function unreadable(i: Item): Promise<string | undefined> {
  if (!i.file) return undefined;
  try {
    await i.file.slice(0, 1).arrayBuffer();
    return undefined;
  } catch (err) {
    return `it cannot be read any more: ${err instanceof Error ? err.message : String(err)}`;
  }
}
