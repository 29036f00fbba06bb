/** Density is how much room a row of a list takes. */
export type Density = "comfortable" | "compact";

const key = "scrier.density";

export function density(): Density {
  try {
    return localStorage.getItem(key) === "compact" ? "compact" : "comfortable";
  } catch {
    return "comfortable"; // storage is switched off
  }
}

export function chooseDensity(d: Density): void {
  try {
    if (d === "compact") localStorage.setItem(key, d);
    else localStorage.removeItem(key);
  } catch {
    // then it stays comfortable
  }
}

/** rowHeight is that of a list's rows, in pixels. */
export function rowHeight(): number {
  return density() === "compact" ? 32 : 40;
}
