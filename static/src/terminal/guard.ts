import type { Terminal } from "@xterm/xterm";

const mostRepeats = 10_000; // more than a screen has lines or columns

/**
 * guard decides which questions of the host's the terminal answers. What it answers arrives as
 * typed keys, so a file with the right bytes in it, shown with cat, could type. Answered are those
 * whose answer is a few fixed characters: device attributes, the cursor's place, modes. All that
 * repeats what the host said, or tells of the page, is not: settings, titles, colours, windows,
 * versions. The clipboard is neither read nor written.
 *
 * It also takes no count that no screen has: the terminal would repeat that so often, and the page would stand still.
 *
 * answering is true while an answer is made, which the terminal gives as if it were typed.
 */
export function guard(term: Terminal): { readonly answering: boolean } {
  const state = { answering: false };
  const p = term.parser;
  const mute = () => true;
  // The answer is made in the same task, right after this: no key can come between.
  const answer = () => {
    state.answering = true;
    queueMicrotask(() => (state.answering = false));
    return false;
  };

  p.registerCsiHandler({ final: "c" }, answer); // DA1
  p.registerCsiHandler({ prefix: ">", final: "c" }, answer); // DA2
  p.registerCsiHandler({ prefix: "=", final: "c" }, mute); // DA3
  p.registerCsiHandler({ final: "n" }, answer); // DSR
  p.registerCsiHandler({ prefix: "?", final: "n" }, (params) => (params[0] === 6 ? answer() : true)); // DECXCPR
  p.registerCsiHandler({ intermediates: "$", final: "p" }, answer); // DECRQM
  p.registerCsiHandler({ prefix: "?", intermediates: "$", final: "p" }, answer);
  p.registerCsiHandler({ prefix: "?", final: "h" }, answer); // 1004 tells at once whether the page has the focus
  p.registerCsiHandler({ prefix: ">", final: "q" }, mute); // XTVERSION
  p.registerCsiHandler({ final: "t" }, mute); // windows: move, resize, report, titles
  p.registerCsiHandler({ final: "x" }, mute); // DECREQTPARM
  p.registerCsiHandler({ prefix: "?", final: "S" }, mute); // XTSMGRAPHICS
  p.registerCsiHandler({ prefix: "?", final: "u" }, mute); // keyboard protocol
  p.registerCsiHandler({ prefix: "?", final: "m" }, mute); // XTQMODKEYS
  p.registerCsiHandler({ intermediates: "*", final: "y" }, mute); // DECRQCRA: reads the screen
  p.registerCsiHandler({ intermediates: "$", final: "u" }, mute); // DECRQTSR
  p.registerCsiHandler({ intermediates: "$", final: "w" }, mute); // DECRQPSR
  p.registerDcsHandler({ intermediates: "$", final: "q" }, mute); // DECRQSS
  p.registerDcsHandler({ intermediates: "+", final: "q" }, mute); // XTGETTCAP
  const endless = (params: (number | number[])[]) => Number(params[0] ?? 0) > mostRepeats;
  for (const final of "@ILMPSTXZb") p.registerCsiHandler({ final }, endless); // insert, delete, scroll, erase, tab, repeat
  for (const final of "@A") p.registerCsiHandler({ intermediates: " ", final }, endless); // scroll sideways
  for (const final of "}~") p.registerCsiHandler({ intermediates: "'", final }, endless); // columns
  for (const colour of [4, 5, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19]) p.registerOscHandler(colour, (data) => data.includes("?"));
  for (const other of [50, 51, 52, 1337]) p.registerOscHandler(other, mute); // fonts, Emacs, clipboard, files
  return state;
}
