/** Name is one part of a path. On the machine it is bytes, which need not be UTF-8: then raw has all of them, in base64url. */
export interface Name {
  readonly text: string;
  readonly raw?: string | undefined;
}

/** Where is how a path is told to the API. */
export type Where = { path: string } | { raw: string };

const utf8 = new TextEncoder();

/** Path is an absolute path on the machine. */
export class Path {
  constructor(readonly names: readonly Name[]) {}

  /** of reads what the API calls a path. */
  static of(where: { path: string; raw?: string | undefined }): Path {
    if (where.raw === undefined || where.raw === "") return new Path(where.path.split("/").filter((n) => n !== "").map((text) => ({ text })));
    const names: Name[] = [];
    const bytes = fromBase64(where.raw);
    for (let at = 0; at <= bytes.length; ) {
      const slash = bytes.indexOf(0x2f, at);
      const end = slash < 0 ? bytes.length : slash;
      if (end > at) names.push(nameOf(bytes.subarray(at, end)));
      at = end + 1;
    }
    return new Path(names);
  }

  join(...more: Name[]): Path {
    return new Path([...this.names, ...more]);
  }

  get parent(): Path {
    return new Path(this.names.slice(0, -1));
  }

  get last(): Name | undefined {
    return this.names.at(-1);
  }

  get text(): string {
    return "/" + this.names.map((n) => n.text).join("/");
  }

  get where(): Where {
    if (!this.names.some((n) => n.raw !== undefined)) return { path: this.text };
    const bytes: number[] = [];
    for (const n of this.names) bytes.push(0x2f, ...(n.raw === undefined ? utf8.encode(n.text) : fromBase64(n.raw)));
    return { raw: toBase64(Uint8Array.from(bytes)) };
  }

  /** key is the same for the same path only. */
  get key(): string {
    const w = this.where;
    return "raw" in w ? `raw:${w.raw}` : w.path;
  }
}

function nameOf(bytes: Uint8Array): Name {
  try {
    return { text: new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes) };
  } catch {
    return { text: new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes), raw: toBase64(bytes) };
  }
}

function fromBase64(s: string): Uint8Array {
  return Uint8Array.from(atob(s.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
}

function toBase64(b: Uint8Array): string {
  let s = "";
  for (const c of b) s += String.fromCharCode(c);
  return btoa(s).replace(/\+/g, "-").replace(/\//g, "_").replace(/=+$/, "");
}
