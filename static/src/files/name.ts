import { visible } from "../viewer/text";

const longest = 255; // bytes: what file systems take
const longestShown = 255; // characters

/** shown is a file's name as it may be shown: what is not seen, or would end the line, is told by its number. */
export function shown(name: string, max = longestShown): string {
  const s = visible(name.slice(0, max * 2).replace(/\p{Surrogate}/gu, "\ufffd")).replace(/[\t\n]/g, (c) => (c === "\t" ? "^I" : "^J"));
  const chars = [...s];
  return chars.length <= max ? s : chars.slice(0, max - 1).join("") + "…";
}

/** fit says why a file cannot be called so on a machine; undefined: it can. */
export function fit(name: string): string | undefined {
  if (name === "") return "A name is missing.";
  if (name === "." || name === "..") return "A file cannot be called so.";
  if (name.includes("/")) return "A name has no slash in it.";
  if (name.includes("\0")) return "A name has no zero byte in it.";
  if (new TextEncoder().encode(name).length > longest) return `A name has at most ${longest} bytes.`;
  return undefined;
}

/** numbered is the name beside one that is taken: "a (2).txt". */
export function numbered(name: string, n: number): string {
  const dot = name.lastIndexOf(".");
  const at = dot > 0 ? dot : name.length;
  const tail = ` (${n})${name.slice(at)}`;
  let head = name.slice(0, at);
  while (head !== "" && new TextEncoder().encode(head + tail).length > longest) head = [...head].slice(0, -1).join("");
  return head + tail;
}

/** permissions are a mode in ls's letters; "" if it is none. */
export function permissions(octal: string): string {
  if (!/^[0-7]{1,7}$/.test(octal)) return "";
  const m = parseInt(octal, 8);
  const three = (bits: number, special: boolean, letter: string) =>
    (bits & 4 ? "r" : "-") + (bits & 2 ? "w" : "-") + (special ? (bits & 1 ? letter : letter.toUpperCase()) : bits & 1 ? "x" : "-");
  return three(m >> 6, (m & 0o4000) !== 0, "s") + three(m >> 3, (m & 0o2000) !== 0, "s") + three(m, (m & 0o1000) !== 0, "t");
}
