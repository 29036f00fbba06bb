import { Status, type InputStream } from "@glokon/guacamole-common-js";
import { decode } from "./download";

/** folderType is what guacd calls a folder, and sends its listing as. */
export const folderType = "application/vnd.glyptodon.guacamole.stream-index+json";

const most = 4 << 20; // bytes of a listing

/** Entry is what lies in a folder. */
export interface Entry {
  path: string;
  name: string;
  folder: boolean;
}

/** readListing reads what lies in a folder, folders first; undefined: it cannot be read. */
export function readListing(stream: InputStream, mimetype: string, done: (entries: Entry[] | undefined) => void): void {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  let bytes = 0;
  let over = false;
  const end = (entries?: Entry[]) => {
    over = true;
    done(entries);
  };
  if (mimetype !== folderType) {
    stream.sendAck("not a folder", Status.Code.CLIENT_BAD_TYPE);
    return end();
  }
  stream.onblob = (data) => {
    if (over) return;
    const b = decode(data);
    bytes += b?.length ?? 0;
    if (!b || bytes > most) {
      stream.sendAck("not a listing", Status.Code.CLIENT_BAD_TYPE);
      return end();
    }
    parts.push(b);
    stream.sendAck("OK", Status.Code.SUCCESS);
  };
  stream.onend = () => {
    if (!over) void new Blob(parts).text().then((text) => end(entriesOf(text)));
  };
  stream.sendAck("OK", Status.Code.SUCCESS);
}

/** entriesOf makes entries of a listing's text. */
export function entriesOf(text: string): Entry[] | undefined {
  let found: unknown;
  try {
    found = JSON.parse(text);
  } catch {
    return undefined;
  }
  if (typeof found !== "object" || found === null) return undefined;
  const entries = Object.entries(found).map(([path, type]) => ({ path, folder: type === folderType, name: path.slice(path.lastIndexOf("/") + 1) || path }));
  return entries.sort((a, b) => Number(b.folder) - Number(a.folder) || a.name.localeCompare(b.name));
}

const longestPath = 4096; // bytes

/** askable says whether the relay lets a path be asked for. */
export function askable(path: string): boolean {
  return !/[\u0000-\u001f\u007f]/.test(path) && !path.split(/[/\\]/).includes("..") && new TextEncoder().encode(path).length <= longestPath;
}
