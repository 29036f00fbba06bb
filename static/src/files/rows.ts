import type { FileEntry } from "../api/files";
import type { Name } from "../api/path";
import { shown } from "./name";

/** Row is one line of a folder. */
export interface Row {
  readonly entry: FileEntry;
  readonly name: Name;
  readonly shown: string;
  readonly folder: boolean; // it can be gone into
  readonly key: string;
}

export type Order = "name" | "size" | "modified";

const byName = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });

export function rowOf(entry: FileEntry): Row {
  const name: Name = entry.raw ? { text: entry.name, raw: entry.raw } : { text: entry.name };
  return {
    entry, name, shown: shown(entry.name),
    folder: entry.kind === "dir" || (entry.kind === "link" && entry.to === "dir"),
    key: entry.raw ? `raw:${entry.raw}` : `:${entry.name}`,
  };
}

/** hidden says whether a file is one that ls leaves out. */
export function hidden(r: Row): boolean {
  return r.entry.name.startsWith(".");
}

/** sorted puts folders first. */
export function sorted(rows: readonly Row[], by: Order, down: boolean): Row[] {
  const value = by === "size" ? (r: Row) => r.entry.size : (r: Row) => Date.parse(r.entry.modified) || 0;
  const one = (a: Row, b: Row) => (by === "name" ? 0 : value(a) - value(b)) || byName.compare(a.shown, b.shown) || (a.key < b.key ? -1 : 1);
  return [...rows].sort((a, b) => Number(b.folder) - Number(a.folder) || (down ? -one(a, b) : one(a, b)));
}

const pause = 800; // ms after which typing begins anew

/** Typed finds a row by what is typed ahead; the same letter again goes to the next. */
export class Typed {
  private text = "";
  private at = -Infinity;

  /** under says that something was typed just now: a blank belongs to it then. */
  under(now: number): boolean {
    return this.text !== "" && now - this.at <= pause;
  }

  find(key: string, rows: readonly Row[], from: number, now: number): number {
    if (!this.under(now)) this.text = "";
    this.at = now;
    const c = key.toLocaleLowerCase();
    const same = this.text !== "" && [...this.text].every((x) => x === c);
    if (!same) this.text += c;
    // One letter looks behind the row, several go on with it.
    const start = [...this.text].length === 1 ? from + 1 : Math.max(from, 0);
    for (let n = 0; n < rows.length; n++) {
      const i = (start + n) % rows.length;
      if (rows[i]?.shown.toLocaleLowerCase().startsWith(this.text)) return i;
    }
    return -1;
  }
}
