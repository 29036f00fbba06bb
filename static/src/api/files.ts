import { Path, type Where } from "./path";
import { Problem } from "./problem";
import { id, query, request, type RequestOptions } from "./request";

export type FileKind = "file" | "dir" | "link" | "other";

export interface FileEntry {
  name: string;
  raw?: string; // base64 of the name, if it is not UTF-8
  kind: FileKind;
  to?: FileKind; // what a link leads to
  size: number;
  mode: string; // octal
  modified: string;
}

export interface Folder {
  path: string; // absolute
  raw?: string;
  entries: FileEntry[];
  more: boolean; // there are more than these
}

/** Piece is a part of an upload. */
export interface Piece {
  body: Blob;
  size: number; // of the whole file
  offset: number;
  modified: number; // ms since 1970
  overwrite: boolean;
}

const root = "/api/v1";
const long = 600_000; // ms for what may take as long as a tree is large
const silence = 60_000; // ms in which nothing of a piece moves

/** Files are the files of a session's login on its machine. All throw Problem. */
export class Files {
  private readonly at: string;

  constructor(readonly session: string) {
    this.at = `/sessions/${id(session)}/files`;
  }

  /** list reads a folder; without a path the login's home. */
  list(p: Path | undefined, o?: RequestOptions): Promise<Folder> {
    return request<Folder>("GET", this.at + query({ ...p?.where }), undefined, { ...o, exact: true });
  }

  makeFolder(p: Path, o?: RequestOptions): Promise<void> {
    return request<void>("POST", `${this.at}/folder`, p.where, o);
  }

  rename(from: Path, to: Path, o?: RequestOptions): Promise<void> {
    return request<void>("POST", `${this.at}/rename`, { ...named("from", from.where), ...named("to", to.where) }, o);
  }

  remove(p: Path, recursive: boolean, o?: RequestOptions): Promise<void> {
    return request<void>("DELETE", this.at + query({ ...p.where, recursive: recursive || undefined }), undefined, { timeout: long, ...o });
  }

  /** offset is how much of a broken upload is there. */
  async offset(p: Path, size: number, o?: RequestOptions): Promise<number> {
    return (await request<{ offset: number }>("GET", `${this.at}/upload` + query({ ...p.where, size }), undefined, o)).offset;
  }

  /** giveUp removes what is there of a broken upload. */
  giveUp(p: Path, size: number, o?: RequestOptions): Promise<void> {
    return request<void>("DELETE", `${this.at}/upload` + query({ ...p.where, size }), undefined, o);
  }

  /** content is the address of a file, as something to save. */
  content(p: Path): string {
    return `${root}${this.at}/content${query({ ...p.where })}`;
  }

  /** archive is the address of a zip of files and folders. */
  archive(list: readonly Path[]): string {
    const q = new URLSearchParams();
    for (const p of list) for (const [k, v] of Object.entries(p.where)) q.append(k, v);
    return `${root}${this.at}/archive?${q}`;
  }

  /**
   * put sends a piece of an upload. It is no fetch: that tells nothing of what has gone, so that nobody could tell a
   * slow network from a dead one.
   */
  put(p: Path, piece: Piece, signal: AbortSignal, moved: (bytes: number) => void): Promise<void> {
    const { size, offset, modified, overwrite } = piece;
    const q = query({ ...p.where, size, offset, modified, overwrite: overwrite || undefined });
    return new Promise((done, failed) => {
      if (signal.aborted) return failed(signal.reason);
      const x = new XMLHttpRequest();
      let timer: ReturnType<typeof setTimeout>;
      const over = (err?: unknown) => {
        clearTimeout(timer);
        signal.removeEventListener("abort", abort);
        if (err === undefined) done();
        else failed(err);
      };
      const abort = () => {
        over(signal.reason);
        x.abort();
      };
      const watch = () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
          over(Problem.of("relay_unreachable", "The relay did not answer in time."));
          x.abort();
        }, silence);
      };
      x.open("PUT", `${root}${this.at}/content${q}`);
      x.setRequestHeader("Content-Type", "application/octet-stream");
      x.upload.onprogress = (e) => {
        watch();
        moved(e.loaded);
      };
      x.onerror = () => over(Problem.of("relay_unreachable"));
      x.onload = () => {
        if (x.status >= 200 && x.status < 300) return over();
        let body: unknown;
        try {
          body = JSON.parse(x.responseText);
        } catch {
          // then the status has to do
        }
        over(Problem.parse(x.status, body));
      };
      signal.addEventListener("abort", abort);
      watch();
      x.send(piece.body);
    });
  }
}

// named is a path as one of several in a body: "from" or "from_raw".
function named(what: string, w: Where): Record<string, string> {
  return "raw" in w ? { [`${what}_raw`]: w.raw } : { [what]: w.path };
}
