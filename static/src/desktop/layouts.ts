// guacd's names for the layouts of RDP servers, as in relay/guac/keyboard.go, and people's.
export const layouts: readonly (readonly [string, string])[] = [
  ["cs-cz-qwertz", "Czech"], ["da-dk-qwerty", "Danish"], ["en-gb-qwerty", "English (United Kingdom)"], ["en-us-qwerty", "English (United States)"],
  ["fr-fr-azerty", "French"], ["fr-be-azerty", "French (Belgium)"], ["fr-ca-qwerty", "French (Canada)"], ["fr-ch-qwertz", "French (Switzerland)"],
  ["de-de-qwertz", "German"], ["de-ch-qwertz", "German (Switzerland)"], ["hu-hu-qwertz", "Hungarian"], ["it-it-qwerty", "Italian"],
  ["ja-jp-qwerty", "Japanese"], ["no-no-qwerty", "Norwegian"], ["pl-pl-qwerty", "Polish"], ["pt-pt-qwerty", "Portuguese"],
  ["pt-br-qwerty", "Portuguese (Brazil)"], ["ro-ro-qwerty", "Romanian"], ["es-es-qwerty", "Spanish"], ["es-latam-qwerty", "Spanish (Latin America)"],
  ["sv-se-qwerty", "Swedish"], ["tr-tr-qwerty", "Turkish"], ["failsafe", "Any other (Unicode)"],
];

type Shape = "qwerty" | "qwertz" | "azerty";

/** KeyMap is what the keys of the keyboard type, by their places; only some browsers tell. */
export interface KeyMap {
  get(code: string): string | undefined;
}

/** layoutFor guesses the layout by the languages that the person prefers, and by the keyboard where it is known. */
export function layoutFor(languages: readonly string[], keys?: KeyMap): string {
  const shape: Shape | undefined = keys && (keys.get("KeyQ") === "a" ? "azerty" : keys.get("KeyY") === "z" ? "qwertz" : "qwerty");
  const fits = (name: string) => shape === undefined || name.endsWith(shape);
  const names = layouts.map(([name]) => name).filter((name) => name !== "failsafe" && fits(name));
  for (const l of languages) {
    const [given = "", region = ""] = l.toLowerCase().split("-");
    const language = given === "nb" || given === "nn" ? "no" : given;
    const exact = names.find((n) => n.startsWith(`${language}-${region}-`));
    if (exact) return exact;
    if (language === "es" && region !== "") return names.find((n) => n.startsWith("es-latam-")) ?? "failsafe";
    if (language === "en") {
      const british = keys?.get("Backslash") === "#" || ["ie", "gb"].includes(region);
      const english = names.find((n) => n.startsWith(british ? "en-gb-" : "en-us-"));
      if (english) return english;
      continue;
    }
    const own = names.find((n) => n.startsWith(`${language}-${language}-`)) ?? names.find((n) => n.startsWith(`${language}-`));
    if (own) return own;
  }
  return { qwertz: "de-de-qwertz", azerty: "fr-fr-azerty", qwerty: "en-us-qwerty" }[shape ?? "qwerty"];
}

/** ownLayout asks the browser. */
export async function ownLayout(): Promise<string> {
  const keyboard = (navigator as { keyboard?: { getLayoutMap?: () => Promise<KeyMap> } }).keyboard;
  let keys: KeyMap | undefined;
  try {
    keys = await keyboard?.getLayoutMap?.();
  } catch {
    // it may not tell
  }
  return layoutFor(navigator.languages, keys);
}
