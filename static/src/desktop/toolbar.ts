import { chooseScheme, scheme } from "../ui/scheme";
import { button, el } from "../viewer/dom";
import { ToolStrip } from "../viewer/toolstrip";
import { sym } from "./keys";

/** Deeds is what the buttons do. */
export interface Deeds {
  readonly strip: ToolStrip;
  clipboard(): void;
  files(): void;
  chords(): void;
  zoom(): void;
  fingers(): void;
  sound(): void;
  full(): void;
  end(): void;
  notice(text: string): void;
  press(keysym: number): void;
  stick(keysym: number): void;
  type(): void;
  focus(): void;
}

/** Shown is what of it makes sense now. */
export interface Shown {
  live: boolean;
  hands: boolean; // keys and pointer are taken
  files: boolean;
  sound: boolean;
  muted: boolean;
  fit: boolean;
  pad: boolean;
  stuck: ReadonlySet<number>;
  open: "chords" | "clipboard" | "files" | undefined; // the pane
}

const sticky: readonly (readonly [string, number])[] = [["Ctrl", sym.ctrl], ["Alt", sym.alt], ["Shift", sym.shift], ["Win", sym.win]];

/** Toolbar is what can be done with the desktop, and the keys that a touch screen lacks. */
export class Toolbar {
  readonly keys: HTMLElement;
  private readonly tools: Record<"clipboard" | "files" | "chords" | "fit" | "pad" | "sound" | "theme" | "keys" | "end", HTMLButtonElement>;
  private readonly modifiers = new Map<number, HTMLButtonElement>();

  constructor(private readonly deeds: Deeds) {
    const { strip } = deeds;
    this.tools = {
      chords: strip.tool("chord", "Send keys", "", () => deeds.chords()),
      clipboard: strip.tool("paste", "Clipboard", "", () => deeds.clipboard()),
      files: strip.tool("files", "Files", "", () => deeds.files()),
      fit: strip.tool("fit", "Fit to the window", "", () => deeds.zoom()),
      sound: strip.tool("sound", "Sound", "", () => deeds.sound()),
      theme: strip.tool("theme", "Theme", "", () => this.nextTheme()),
      pad: strip.tool("finger", "Touch like a touchpad", "", () => deeds.fingers()),
      keys: strip.tool("keys", "Keys on the screen", "", () => this.showKeys(this.keys.hidden !== false)),
      end: strip.tool("end", "End session", "", () => deeds.end()),
    };
    const t = this.tools;
    t.end.classList.add("danger");
    strip.add(t.chords, t.clipboard, t.files, t.fit, strip.tool("full", "Full screen", "", () => deeds.full()), t.sound, t.theme, t.pad, t.keys, t.end);

    const key = (label: string, name: string, keysym: number) => button(name, { class: "button key" }, () => deeds.press(keysym), label);
    for (const [label, keysym] of sticky) this.modifiers.set(keysym, button(label, { class: "button key", "aria-pressed": "false" }, () => deeds.stick(keysym)));
    this.keys = el("div", { class: "keys", role: "toolbar", "aria-label": "Keys", hidden: !coarse() },
      button("Keyboard", { class: "button key wide" }, () => deeds.type()), key("Esc", "Esc", sym.escape), key("Tab", "Tab", sym.tab), ...this.modifiers.values(),
      key("Del", "Del", sym.delete), key("←", "Left", sym.left), key("↑", "Up", sym.up), key("↓", "Down", sym.down), key("→", "Right", sym.right));
    // A touch on a key must not take the focus: the phone's keyboard would go.
    this.keys.addEventListener("pointerdown", (e) => e.preventDefault());
  }

  draw(s: Shown): void {
    const t = this.tools;
    t.end.disabled = !s.live;
    t.chords.disabled = !s.hands;
    t.clipboard.disabled = !s.live;
    t.files.hidden = !s.files;
    t.sound.hidden = !s.sound;
    t.pad.hidden = !coarse() || !s.hands;
    t.sound.setAttribute("aria-pressed", String(!s.muted));
    t.fit.setAttribute("aria-pressed", String(s.fit));
    t.pad.setAttribute("aria-pressed", String(s.pad));
    t.keys.setAttribute("aria-pressed", String(!this.keys.hidden));
    for (const p of ["chords", "clipboard", "files"] as const) t[p].setAttribute("aria-pressed", String(s.open === p));
    t.theme.title = `Theme: ${scheme()}`;
    for (const [keysym, b] of this.modifiers) b.setAttribute("aria-pressed", String(s.stuck.has(keysym)));
    for (const b of this.keys.querySelectorAll("button")) b.disabled = !s.hands;
  }

  private nextTheme(): void {
    const next = { system: "light", light: "dark", dark: "system" } as const;
    chooseScheme(next[scheme()]);
    this.deeds.notice(`Theme: ${scheme()}`);
  }

  private showKeys(on: boolean): void {
    this.keys.hidden = !on;
    this.tools.keys.setAttribute("aria-pressed", String(on));
    this.deeds.focus();
  }
}

const coarse = () => matchMedia("(any-pointer: coarse)").matches;
