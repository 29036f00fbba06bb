const kept = 20_000; // widths that are remembered

let context: CanvasRenderingContext2D | null | undefined;
let family = "";
let sizes: Record<"s" | "m", number> = { s: 12, m: 14 };
const known = new Map<string, number>();

/** remeasure reads the document's type again: it is larger in large windows. */
export function remeasure(): void {
  const root = getComputedStyle(document.documentElement);
  const px = (name: string, or: number) => parseFloat(root.getPropertyValue(name)) || or;
  const now = { s: px("--text-s", 12), m: px("--text", 14) };
  if (family === root.fontFamily && now.s === sizes.s && now.m === sizes.m) return;
  family = root.fontFamily;
  sizes = now;
  known.clear();
}

/** textWidth is how wide a text is in one line, in pixels. */
export function textWidth(text: string, size: "s" | "m" = "m", weight = 400): number {
  if (!family) remeasure();
  const key = `${size}${weight}${text}`;
  let w = known.get(key);
  if (w === undefined) {
    context ??= document.createElement("canvas").getContext("2d");
    if (!context) return text.length * sizes[size] * 0.6;
    context.font = `${weight} ${sizes[size]}px ${family}`;
    w = context.measureText(text).width;
    if (known.size >= kept) known.clear();
    known.set(key, w);
  }
  return w;
}

/** longest are the texts that may be the widest of many. */
export function longest(texts: Iterable<string>): string[] {
  const most = 8;
  const best: { text: string; n: number }[] = [];
  for (const text of texts) {
    let n = text.length;
    if (best.length === most && n * 2 <= best[most - 1]!.n) continue;
    for (const c of text) if (c >= "\u1100") n++; // wide characters
    if (best.length === most && n <= best[most - 1]!.n) continue;
    if (best.some((b) => b.text === text)) continue;
    best.push({ text, n });
    best.sort((a, b) => b.n - a.n);
    if (best.length > most) best.pop();
  }
  return best.map((b) => b.text);
}
