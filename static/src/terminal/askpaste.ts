import { ask, el } from "../viewer/dom";
import { look } from "./paste";
import { amount } from "../viewer/text";

/** askPaste lets a text of one line pass, and asks about lines that would run and commands to the terminal. */
export async function askPaste(text: string, bracketed: boolean): Promise<boolean> {
  const { lines, enters, controls, preview } = look(text);
  if (enters === 0 && controls === 0) return true;
  let what = `${amount(text.length)} characters.`;
  if (enters > 0) {
    what += bracketed
      ? " The shell knows pasted text from typed one; most shells wait for Enter before they run it."
      : " Each line runs at once, as if you had pressed Enter.";
  }
  const body: Node[] = [el("p", {}, what)];
  if (controls > 0) {
    const left = bracketed ? "; escape characters are left out" : "";
    body.push(el("p", { class: "warn-text" }, `It holds ${controls} control ${controls === 1 ? "character" : "characters"}, which can be commands to the terminal${left}.`));
  }
  body.push(el("pre", { class: "preview", tabindex: "0" }, preview));
  return ask({ title: lines > 1 ? `Paste ${amount(lines)} lines?` : enters > 0 ? "Paste a line with its Enter?" : "Paste this text?", body, yes: "Paste" });
}
