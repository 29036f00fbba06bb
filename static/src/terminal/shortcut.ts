import { mac, types, type Press } from "../ui/typing";

/** Deed is what a key does for the page; the terminal gets all others. */
export type Deed = "copy" | "find" | "paste" | "another" | "toolbar" | number; // the tab, from 1 on

/** deed finds what a key is for. It looks at places of keys, as layouts have digits elsewhere. */
export function deed(e: Press, onMac = mac): Deed | undefined {
  if (types(e, onMac)) return undefined;
  const held = [e.ctrlKey && "c", e.shiftKey && "s", e.altKey && "a", e.metaKey && "m"].filter(Boolean).join("");
  if (held === "cs") return ({ KeyC: "copy", KeyF: "find", KeyV: "paste" } as const)[e.code];
  if (held === "s" && e.code === "Insert") return "paste";
  if (held !== (onMac ? "ca" : "a")) return undefined;
  if (e.code === "KeyT") return "another";
  const digit = /^Digit(\d)$/.exec(e.code)?.[1];
  return digit === undefined ? undefined : digit === "0" ? "toolbar" : Number(digit);
}

/** named is how people press one of the page's own keys. Option alone types characters. */
export function named(key: string): string {
  return `${mac ? "Ctrl+Option" : "Alt"}+${key}`;
}
