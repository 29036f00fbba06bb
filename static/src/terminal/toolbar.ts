import { chooseScheme, scheme } from "../ui/scheme";
import { button, el, type Icon } from "../viewer/dom";
import { fullScreen, ToolStrip } from "../viewer/toolstrip";
import { changeFont, fontSize, rememberReader, rememberSkip, skipsOutput } from "./screen";
import type { Tab } from "./tab";

export interface Deeds {
  end(): void;
  restyle(): void;
  files(): void; // show them, or no longer
}

const esc = "\x1b";

/** Toolbar is what can be done with the session in front, and the keys that a touch screen lacks. */
export class Toolbar {
  readonly element: HTMLElement;
  readonly keys: HTMLElement;
  private readonly strip: ToolStrip;
  private readonly theme: HTMLButtonElement;
  private readonly skip: HTMLButtonElement;
  private readonly keysButton: HTMLButtonElement;
  private readonly filesButton: HTMLButtonElement;
  private readonly endButton: HTMLButtonElement;
  private readonly ctrl: HTMLButtonElement;
  private readonly alt: HTMLButtonElement;

  constructor(private readonly front: () => Tab | undefined, private readonly deeds: Deeds) {
    const tool = (name: Icon, label: string, hint: string, f: (t: Tab | undefined) => void) =>
      this.strip.tool(name, label, hint, () => f(this.front()));
    this.strip = new ToolStrip("Session", () => this.front()?.screen.focus());
    this.theme = tool("theme", "Theme", "", () => this.nextTheme());
    this.skip = tool("skip", "Ctrl+C skips output", "", (t) => this.nextSkip(t));
    this.keysButton = tool("keys", "Keys on the screen", "", () => this.showKeys(this.keys.hidden !== false));
    this.filesButton = tool("files", "Files", "", () => this.deeds.files());
    this.endButton = tool("end", "End session", "", () => this.deeds.end());
    this.endButton.classList.add("danger");
    this.strip.add(
      tool("search", "Search", "Ctrl+Shift+F", (t) => t?.search.open()),
      tool("copy", "Copy", "Ctrl+Shift+C", (t) => void t?.copy()),
      tool("paste", "Paste", "Ctrl+Shift+V", (t) => void t?.pasteClipboard()),
      this.filesButton,
      tool("full", "Full screen", "", () => void this.fullScreen()),
      this.endButton);
    this.strip.addLess(
      tool("smaller", "Smaller text", "", () => this.font(-1)),
      tool("larger", "Larger text", "", () => this.font(1)),
      this.theme,
      this.keysButton,
      tool("reader", "Screen reader", "", (t) => this.reader(t)),
      this.skip);
    this.element = this.strip.element;

    const k = (label: string, name: string, bytes: () => string) => button(name, { class: "button key" }, () => this.press(bytes()), label);
    const arrow = (letter: string) => () => (this.front()?.screen.term.modes.applicationCursorKeysMode ? `${esc}O${letter}` : `${esc}[${letter}`);
    const hold = (label: string, which: "ctrl" | "alt") => button(label, { class: "button key", "aria-pressed": "false" }, () => {
      const t = this.front();
      if (!t) return;
      t.held[which] = !t.held[which];
      this.draw();
      t.screen.focus();
    });
    this.ctrl = hold("Ctrl", "ctrl");
    this.alt = hold("Alt", "alt");
    this.keys = el("div", { class: "keys", role: "toolbar", "aria-label": "Keys", hidden: !matchMedia("(pointer: coarse)").matches },
      k("Esc", "Esc", () => esc), k("Tab", "Tab", () => "\t"), this.ctrl, this.alt,
      k("←", "Left", arrow("D")), k("↑", "Up", arrow("A")), k("↓", "Down", arrow("B")), k("→", "Right", arrow("C")), k("/", "Slash", () => "/"), k("|", "Pipe", () => "|"));
    // A touch on a key must not take the focus from the terminal: the phone's keyboard would go.
    this.keys.addEventListener("pointerdown", (e) => e.preventDefault());
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.deeds.restyle());
    addEventListener("storage", (e) => e.key === "scrier.scheme" && this.deeds.restyle());
  }

  focus(): void {
    this.strip.focus();
  }

  draw(files = this.filesButton.ariaPressed === "true"): void {
    const t = this.front();
    this.filesButton.setAttribute("aria-pressed", String(files));
    this.filesButton.disabled = !files && t?.spec.watch === true;
    this.endButton.disabled = !t?.live;
    this.ctrl.setAttribute("aria-pressed", String(t?.held.ctrl === true));
    this.alt.setAttribute("aria-pressed", String(t?.held.alt === true));
    this.keysButton.setAttribute("aria-pressed", String(!this.keys.hidden));
    this.skip.setAttribute("aria-pressed", String(skipsOutput()));
    this.theme.title = `Theme: ${scheme()}`;
  }

  private press(s: string): void {
    this.front()?.press(new TextEncoder().encode(s));
  }

  /** font makes the text larger, or smaller. */
  font(by: number): void {
    changeFont(by);
    this.deeds.restyle();
    this.front()?.notice(`Text of ${fontSize()} pixels`);
    this.front()?.screen.focus();
  }

  private nextTheme(): void {
    const next = { system: "light", light: "dark", dark: "system" } as const;
    chooseScheme(next[scheme()]);
    this.deeds.restyle();
    this.front()?.notice(`Theme: ${scheme()}`);
    this.draw();
  }

  private async fullScreen(): Promise<void> {
    if (!(await fullScreen())) this.front()?.notice("The browser does not allow full screen here.");
    this.front()?.screen.focus();
  }

  private reader(t: Tab | undefined): void {
    if (!t) return;
    const on = !t.screen.term.options.screenReaderMode;
    t.screen.term.options.screenReaderMode = on;
    rememberReader(on);
    t.notice(on ? "The screen is read aloud by screen readers." : "The screen is not read aloud.");
    t.screen.focus();
  }

  private nextSkip(t: Tab | undefined): void {
    const on = !skipsOutput();
    rememberSkip(on);
    t?.notice(on ? "Ctrl+C leaves out the output that still waits, from the next connection on." : "All output is shown, from the next connection on.");
    this.draw();
    t?.screen.focus();
  }

  private showKeys(on: boolean): void {
    this.keys.hidden = !on;
    this.draw();
    this.front()?.screen.focus();
  }
}
