// X11 keysyms, which Guacamole speaks.
export const sym = {
  backSpace: 0xff08, tab: 0xff09, enter: 0xff0d, escape: 0xff1b, delete: 0xffff, home: 0xff50, left: 0xff51, up: 0xff52, right: 0xff53, down: 0xff54,
  pageUp: 0xff55, pageDown: 0xff56, end: 0xff57, print: 0xff61, shift: 0xffe1, ctrl: 0xffe3, alt: 0xffe9, win: 0xffeb,
} as const;

/** functionKey is F1 to F12. */
export const functionKey = (n: number) => 0xffbd + n;

const modifiers: ReadonlySet<number> = new Set([0xffe1, 0xffe2, 0xffe3, 0xffe4, 0xffe7, 0xffe8, 0xffe9, 0xffea, 0xffeb, 0xffec, 0xfe03]);

/**
 * Keys sends keys, whether they come from a keyboard or from buttons. A modifier that was touched on
 * the screen sticks: it holds for the next key, whichever keyboard that is on.
 */
export class Keys {
  readonly stuck = new Set<number>();
  private held: number[] = []; // stuck ones that are down now

  constructor(private readonly send: (keysym: number, down: boolean) => void, private readonly changed: () => void) {}

  down(keysym: number): void {
    if (this.stuck.size > 0 && !modifiers.has(keysym)) {
      for (const m of this.stuck) {
        this.send(m, true);
        this.held.push(m);
      }
      this.stuck.clear();
      this.changed();
    }
    this.send(keysym, true);
  }

  up(keysym: number): void {
    this.send(keysym, false);
    if (modifiers.has(keysym)) return;
    for (const m of this.held.splice(0).reverse()) this.send(m, false);
  }

  /** press is a touch on a key of the screen. */
  press(keysym: number): void {
    this.down(keysym);
    this.up(keysym);
  }

  /** stick makes a modifier hold for the next key, or lets go of it. */
  stick(keysym: number): void {
    if (!this.stuck.delete(keysym)) this.stuck.add(keysym);
    this.changed();
  }

  /** chord presses keys together. */
  chord(...keysyms: number[]): void {
    for (const k of keysyms) this.send(k, true);
    for (const k of [...keysyms].reverse()) this.send(k, false);
  }

  /** release lets go of what is held on the screen. */
  release(): void {
    for (const m of this.held.splice(0).reverse()) this.send(m, false);
    if (this.stuck.size === 0) return;
    this.stuck.clear();
    this.changed();
  }
}

/**
 * wayOut calls f when Ctrl, Alt and Shift were pressed together, with no other key, and let go. All
 * other keys belong to the desktop; so this one is the way out of it for who has no mouse. AltGr is no
 * Alt, and what some browsers tell of it, Ctrl and Alt, counts only if nothing was typed with it.
 */
export function wayOut(target: EventTarget, f: () => void): void {
  let armed = false;
  let spoilt = false; // another key was pressed since the first of them
  target.addEventListener("keydown", (ev) => {
    const e = ev as KeyboardEvent;
    if (!/^(Control|Alt|Shift|Meta)/.test(e.code || e.key)) spoilt = true;
    else if (Number(e.ctrlKey) + Number(e.altKey) + Number(e.shiftKey) + Number(e.metaKey) <= 1) spoilt = false;
    armed = !spoilt && e.ctrlKey && e.altKey && e.shiftKey && e.key !== "AltGraph" && !e.getModifierState("AltGraph");
  }, true);
  target.addEventListener("keyup", () => {
    if (!armed) return;
    armed = false;
    f();
  }, true);
}
