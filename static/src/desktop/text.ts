import { sym } from "./keys";

/** mostTyped is how many characters are typed at once; for more there is the clipboard. */
export const mostTyped = 5000;

const keys: Readonly<Record<string, number>> = { "\n": sym.enter, "\r": sym.enter, "\t": sym.tab };

/**
 * keysymsOf are the keys that type a text. RDP has 16 bits for a character that is on no key: what lies
 * beyond is typed as the two halves that UTF-16 has for it.
 */
export function keysymsOf(text: string, halves: boolean): number[] {
  const out: number[] = [];
  for (const char of text.replaceAll("\r\n", "\n")) {
    const n = char.codePointAt(0)!;
    const key = keys[char];
    if (key !== undefined) out.push(key);
    else if (n < 0x20 || (n >= 0x7f && n < 0xa0) || (n >= 0xd800 && n < 0xe000)) continue; // no character
    else if (n < 0x100) out.push(n);
    else if (n > 0xffff && halves) out.push(0x01000000 | char.charCodeAt(0), 0x01000000 | char.charCodeAt(1));
    else out.push(0x01000000 | n);
  }
  return out;
}
