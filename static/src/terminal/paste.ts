import type { Source } from "./keys";
import { visible } from "../viewer/text";

const utf8 = new TextEncoder();
const none = new Uint8Array(0);

/** Paste is a text on its way to the shell, made into bytes piece by piece: it may have 100 MB. */
export class Paste implements Source {
  readonly total: number;
  private at = 0;
  private lead: Uint8Array<ArrayBuffer>;
  private trail: Uint8Array<ArrayBuffer>;

  /** bracketed says that the shell wants to know where the text begins and ends. */
  constructor(private text: string, private readonly bracketed: boolean) {
    this.total = text.length;
    this.lead = bracketed ? utf8.encode("\x1b[200~") : none;
    this.trail = bracketed ? utf8.encode("\x1b[201~") : none;
  }

  get done(): number {
    return this.at;
  }

  next(max: number): Uint8Array<ArrayBuffer> {
    if (this.lead.length > 0) {
      const b = this.lead.slice(0, max);
      this.lead = this.lead.slice(max);
      return b;
    }
    while (this.at < this.total) {
      // A unit of the string has at most three bytes; a cut falls neither between the halves of
      // a character nor between CR and LF.
      let to = Math.min(this.at + Math.max(Math.floor(max / 3), 1), this.total);
      const last = this.text.charCodeAt(to - 1);
      if (to < this.total && (last === 0x0d || (last >= 0xd800 && last < 0xdc00))) to += to - 1 > this.at ? -1 : 1;
      const piece = this.text.slice(this.at, to);
      this.at = to;
      if (this.at >= this.total) this.text = "";
      const b = utf8.encode(this.keys(piece));
      if (b.length > 0) return b; // empty would mean the end
    }
    const b = this.trail.slice(0, max);
    this.trail = this.trail.slice(max);
    return b;
  }

  end(): void {
    if (this.at === 0 && this.lead.length === 6) this.trail = none; // nothing went out: then no brackets either
    this.at = this.total;
    this.text = "";
    this.lead = none;
  }

  // keys is text as the keyboard would give it: Enter is CR. Between brackets there is no escape,
  // as a text could close them by itself.
  private keys(s: string): string {
    const typed = s.replace(/\r?\n/g, "\r");
    return this.bracketed ? typed.replace(/[\x1b\x9b]/g, "") : typed;
  }
}

export interface Look {
  lines: number;
  enters: number; // ends of lines
  controls: number; // characters that are commands to the shell or its terminal
  preview: string;
}

const previewLines = 12;
const previewChars = 2000;

/** look tells what a person should know before a text is pasted. */
export function look(text: string): Look {
  let enters = 0;
  let controls = 0;
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i);
    if (c === 0x0a) enters++;
    else if (c === 0x0d) {
      if (text.charCodeAt(i + 1) !== 0x0a) enters++;
    } else if ((c < 0x20 && c !== 0x09) || (c >= 0x7f && c < 0xa0)) controls++;
  }
  const head = text.slice(0, previewChars).replace(/\r\n?/g, "\n").split("\n");
  let preview = visible(head.slice(0, previewLines).join("\n"));
  if (text.length > previewChars || head.length > previewLines) preview += "\n…";
  return { lines: enters + (/[\r\n]$/.test(text) ? 0 : 1), enters, controls, preview };
}
