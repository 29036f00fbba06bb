import type { Terminal } from "@xterm/xterm";
import { types } from "../ui/typing";

// What comes without a key. What input methods compose is not among it: the terminal takes that.
const kinds = new Set(["insertText", "insertReplacementText", "insertFromDictation"]);

/**
 * takeInserted gives a terminal that was opened the text that emoji pickers, dictation and corrections insert, where it
 * leaves that out: in screen reader mode, behind a key whose keyup went elsewhere, and of all kinds but one.
 */
export function takeInserted(term: Terminal): void {
  const field = term.textarea;
  const host = term.element;
  if (!field || !host) return;
  let typing = false; // a key that gives a character is down: the terminal has it from that
  let taken = false; // by the terminal itself
  let ending = 0; // compositions whose text the terminal is about to read from the field, with all that is behind it
  host.addEventListener("keydown", (e) => (typing = types(e)), true);
  host.addEventListener("keyup", () => (typing = false), true);
  field.addEventListener("blur", () => (typing = false));
  term.onData(() => (taken = true));
  host.addEventListener("compositionend", () => {
    ending++;
    // The terminal waits as long, from a moment later on: it has read the field then.
    setTimeout(() => setTimeout(() => ending--, 0), 0);
  }, true);
  host.addEventListener("input", (e) => {
    taken = false;
    if (ending > 0) e.stopPropagation();
  }, true);
  // Behind the terminal's own listener, which stops the event there.
  field.addEventListener("input", (ev) => {
    const e = ev as InputEvent;
    if (e.data && !e.isComposing && !typing && !taken && kinds.has(e.inputType)) term.input(e.data, true);
  }, true);
}
