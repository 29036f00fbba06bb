// Text that comes from a machine, before it goes where it could mislead.

// C0, C1, what turns the direction of text, what has no width, line separators, tags.
const unseen = /[\u0000-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]|[\u{e0000}-\u{e007f}]/gu;
const maxTitle = 80; // characters

/** plain strips what is not seen and cuts what is too long. */
export function plain(s: string, max = maxTitle): string {
  const chars = [...s.slice(0, max * 8).replace(unseen, " ").replace(/\p{Surrogate}/gu, "").replace(/\s+/g, " ").trim()];
  return chars.length <= max ? chars.join("") : chars.slice(0, max - 1).join("") + "…";
}

/** place names a session: it comes first in every title, so that no title can pretend another. */
export function place(login: string, envoy: string): string {
  return `${plain(login, 32) || "?"}@${plain(envoy, 64) || "?"}`;
}

/** titleOf is a page's or tab's title. */
export function titleOf(where: string, title: string): string {
  const t = plain(title);
  return t === "" || t === where ? where : `${where} — ${t}`;
}

/** visible shows control characters, all but tabs and ends of lines, as ^A or <U+200B>. */
export function visible(s: string): string {
  return s.replace(unseen, (c) => {
    const n = c.codePointAt(0) ?? 0;
    if (n === 0x09 || n === 0x0a) return c;
    return n < 0x20 || n === 0x7f ? "^" + String.fromCharCode(n ^ 0x40) : `<U+${n.toString(16).toUpperCase().padStart(4, "0")}>`;
  });
}

/** ago tells a time span in few characters. */
export function ago(ms: number): string {
  const s = Math.floor(ms / 1000);
  if (s < 1) return "now";
  if (s < 60) return `${s} s ago`;
  if (s < 3600) return `${Math.floor(s / 60)} min ago`;
  return `${Math.floor(s / 3600)} h ago`;
}

/** amount tells a number of bytes or characters. */
export function amount(n: number): string {
  if (n < 1000) return String(n);
  if (n < 1_000_000) return `${(n / 1000).toFixed(n < 10_000 ? 1 : 0)} k`;
  return `${(n / 1_000_000).toFixed(1)} M`;
}

/** webAddress gives an address that may be opened, in its whole and plain form. */
export function webAddress(s: string): URL | undefined {
  if (s.length > 2048) return undefined;
  try {
    const u = new URL(s);
    return u.protocol === "http:" || u.protocol === "https:" ? u : undefined;
  } catch {
    return undefined;
  }
}
