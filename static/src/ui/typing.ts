/** Press is what is looked at of a keyboard event. */
export type Press = Pick<KeyboardEvent, "key" | "code" | "ctrlKey" | "altKey" | "shiftKey" | "metaKey"> & Partial<Pick<KeyboardEvent, "getModifierState" | "isComposing" | "keyCode">>;

/** mac says whether this computer's Alt is the Option key, which types characters. */
export const mac = typeof navigator !== "undefined" && /^(mac|ip(ad|hone|od))/i.test(navigator.platform);

/**
 * types says whether a key gives a character of the keyboard's layout: with AltGr or Option some give
 * one with Alt down. Such a key is nobody's shortcut.
 */
export function types(e: Press, onMac = mac): boolean {
  if (composing(e)) return true;
  if (e.metaKey || (e.key !== "Dead" && [...e.key].length !== 1)) return false;
  if (e.getModifierState?.("AltGraph")) return true;
  // Windows says Ctrl and Alt of AltGr, in some browsers.
  if (e.altKey) return onMac !== e.ctrlKey;
  return !e.ctrlKey;
}

/** composing says whether a key belongs to an input method, which may take Enter and Escape too. */
export function composing(e: Pick<Press, "isComposing" | "keyCode">): boolean {
  return e.isComposing === true || e.keyCode === 229;
}
