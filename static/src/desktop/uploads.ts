import type { Clock } from "../viewer/clock";
import { Upload, type Drive } from "./upload";

/** Item is one file on its way to the drive. */
export interface Item {
  readonly file: File;
  readonly folder: string; // "" is the drive itself
  taken: number; // bytes that guacd has
  state: "waits" | "goes" | "there" | "failed";
  why: string; // it failed
}

const most = 1000; // files that wait

// What guacd takes for another folder, what no line can show, and a file system's own bound.
const unfit = /[\u0000-\u001f\u007f/\\]/;
const longestName = 255; // bytes
const longestType = 128;

/** fit says why a file cannot be called so on the drive; undefined: it can. */
export function fit(name: string): string | undefined {
  if (name === "" || name === "." || name === "..") return "a file cannot be called so";
  if (unfit.test(name)) return "its name has characters that a drive does not take: rename it first";
  if (new TextEncoder().encode(name).length > longestName) return "its name is too long: rename it first";
  return undefined;
}

/**
 * Uploads are the files that go to the drive, one behind the other. They outlive an attachment: what was
 * on its way when the connection broke begins anew with the next one.
 */
export class Uploads {
  private readonly waiting: Item[] = [];
  private drive: Drive | undefined;
  private going: { item: Item; upload: Upload } | undefined;

  /** changed is called for an item that changed; done when nothing is on its way or waits any more. */
  constructor(private readonly clock: Clock, private readonly changed: (i: Item) => void, private readonly done: () => void) {}

  get busy(): boolean {
    return this.going !== undefined || this.waiting.length > 0;
  }

  /** add takes a file for a folder. */
  add(file: File, folder: string): Item {
    const why = fit(file.name) ?? (this.waiting.length >= most ? `${most} files wait already` : undefined);
    const item: Item = { file, folder, taken: 0, state: why === undefined ? "waits" : "failed", why: why ?? "" };
    if (item.state === "waits") this.waiting.push(item);
    this.changed(item);
    this.next();
    return item;
  }

  /** use sends to this drive from now on. */
  use(drive: Drive): void {
    this.lost();
    this.drive = drive;
    this.next();
  }

  /** lost says that the drive is not there any more; another one may come. */
  lost(): void {
    this.drive = undefined;
    const g = this.going;
    if (!g) return;
    this.going = undefined;
    g.upload.drop();
    Object.assign(g.item, { state: "waits", taken: 0 });
    this.waiting.unshift(g.item);
    this.changed(g.item);
  }

  /** cancel gives up one. */
  cancel(item: Item): void {
    if (this.going?.item === item) this.going.upload.stop("cancelled");
    else if (item.state === "waits") this.fail(item, "cancelled");
  }

  /** end gives up all, for a reason. */
  end(why: string): void {
    this.lost();
    for (const i of [...this.waiting]) this.fail(i, why);
  }

  private fail(item: Item, why: string): void {
    const n = this.waiting.indexOf(item);
    if (n >= 0) this.waiting.splice(n, 1);
    Object.assign(item, { state: "failed", why });
    this.changed(item);
  }

  private next(): void {
    if (this.going || !this.drive) return;
    const item = this.waiting.shift();
    if (!item) return;
    item.state = "goes";
    this.changed(item);
    const { file, folder } = item;
    const type = file.type !== "" && /^[\x20-\x7e]+$/.test(file.type) && file.type.length <= longestType ? file.type : "application/octet-stream";
    const upload = new Upload(this.drive, {
      file, type, path: `${folder}/${file.name}`,
      moved: (taken) => {
        item.taken = taken;
        this.changed(item);
      },
      over: (f) => {
        if (this.going?.item === item) this.going = undefined;
        Object.assign(item, f.there ? { state: "there", taken: file.size } : { state: "failed", why: f.why });
        this.changed(item);
        if (!this.busy) this.done();
        this.next();
      },
    }, this.clock);
    this.going = { item, upload };
  }
}
