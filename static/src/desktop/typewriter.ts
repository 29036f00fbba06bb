import { Keyboard } from "@glokon/guacamole-common-js";
import { Composer } from "./composer";

/** Paper is what is written on. */
export interface Paper {
  key(keysym: number, down: boolean): void;
  text(s: string): void; // that no key gave
}

const shortcuts = [0xffe3, 0xffe4, 0xffe7, 0xffe8, 0xffe9, 0xffea, 0xffeb, 0xffec]; // Ctrl, Meta, Alt and Win

/** Typewriter is the library's keyboard and what it leaves out, on one field of the page. */
export class Typewriter {
  private readonly keyboard = new Keyboard();

  constructor(field: HTMLTextAreaElement, paper: Paper) {
    const composer = new Composer(field, {
      text: (s) => {
        // What is composed is no shortcut, whatever opened the picker that it comes from.
        for (const k of shortcuts) this.keyboard.release(k);
        paper.text(s);
      },
      press: (k) => {
        this.keyboard.press(k);
        this.keyboard.release(k);
      },
    });
    this.keyboard.listenTo(field); // behind the composer
    const twice = new Set<number>(); // keys that are down, whose characters came another way
    this.keyboard.onkeydown = (k) => {
      const char = charOf(k);
      if (char !== undefined && composer.typed(char)) twice.add(k);
      else paper.key(k, true);
      return false; // the browser does nothing with it
    };
    this.keyboard.onkeyup = (k) => {
      if (!twice.delete(k)) paper.key(k, false);
    };
  }

  /** release lets go of all keys. */
  release(): void {
    this.keyboard.reset();
  }
}

/** charOf is the character of a key; undefined: it has none. */
function charOf(keysym: number): string | undefined {
  if (keysym < 0x100) return String.fromCodePoint(keysym);
  return keysym >= 0x01000100 && keysym <= 0x0110ffff ? String.fromCodePoint(keysym & 0xffffff) : undefined;
}
