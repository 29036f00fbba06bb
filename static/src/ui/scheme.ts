/** Scheme is light or dark, or what the system says. */
export type Scheme = "system" | "light" | "dark";

const key = "scrier.scheme";

export function scheme(): Scheme {
  try {
    const s = localStorage.getItem(key);
    return s === "light" || s === "dark" ? s : "system";
  } catch {
    return "system"; // storage is switched off
  }
}

/** showScheme sets the document to what was chosen; each page calls it first. */
export function showScheme(): void {
  const s = scheme();
  if (s === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = s;
}

export function chooseScheme(s: Scheme): void {
  try {
    if (s === "system") localStorage.removeItem(key);
    else localStorage.setItem(key, s);
  } catch {
    // then it lasts as long as the page
  }
  document.documentElement.dataset.theme = s;
  if (s === "system") delete document.documentElement.dataset.theme;
}
