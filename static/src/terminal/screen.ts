import { FitAddon } from "@xterm/addon-fit";
import type { SearchAddon } from "@xterm/addon-search";
import { UnicodeGraphemesAddon } from "@xterm/addon-unicode-graphemes";
import { WebLinksAddon } from "@xterm/addon-web-links";
import { WebglAddon } from "@xterm/addon-webgl";
import { Terminal } from "@xterm/xterm";
import "@xterm/xterm/css/xterm.css";
import { clamp, type Size } from "../wire/messages";
import { ask, el } from "../viewer/dom";
import { fastGraphics } from "./gpu";
import { guard } from "./guard";
import { takeInserted } from "./inserted";
import { dark, light } from "./palette";
import { named } from "./shortcut";
import { webAddress } from "../viewer/text";
import { Whole } from "./whole";

const scrollback = 10_000; // lines
const fonts = 'ui-monospace, SFMono-Regular, Menlo, Consolas, "DejaVu Sans Mono", "Liberation Mono", monospace';
const smallest = 8; // pixels
const largest = 40;
const fontKey = "scrier.font";
const readerKey = "scrier.reader";
const skipKey = "scrier.skip";

/** User is told what the person does on a screen, and what the terminal answers by itself. */
export interface User {
  typed(b: Uint8Array<ArrayBuffer>): void;
  answered(b: Uint8Array<ArrayBuffer>): void;
  resized(s: Size): void;
  titled(title: string): void;
  rang(): void;
  selected(): void;
  /** key may take a key for the page: true says it did */
  key(e: KeyboardEvent): boolean;
}

const utf8 = new TextEncoder();

/** Screen is one terminal: xterm, with nothing allowed that a host could misuse. */
export class Screen {
  readonly term: Terminal;
  private readonly whole = new Whole();
  private readonly fitter = new FitAddon();
  private readonly observer: ResizeObserver;
  private searcher: Promise<SearchAddon> | undefined; // the one there is: marks of another could not be taken away
  private gpu: WebglAddon | undefined;
  private plain = false; // there is no graphics card to use
  private fixed = false; // the size is the owner's
  private frame = 0;

  constructor(readonly host: HTMLElement, user: User) {
    this.term = new Terminal({
      allowProposedApi: true, // for unicode
      altClickMovesCursor: false,
      cursorBlink: false,
      fontFamily: fonts,
      fontSize: fontSize(),
      lineHeight: 1.1, // at 1 some fonts lose their underscores
      linkHandler: { activate: (_, uri) => void openLink(uri), allowNonHttpProtocols: false },
      logLevel: "off", // what a host sends is not for the console
      minimumContrastRatio: 4.5,
      screenReaderMode: readerWanted(),
      scrollback,
      theme: theme(),
      windowOptions: {},
    });
    this.term.loadAddon(this.fitter);
    this.term.loadAddon(new UnicodeGraphemesAddon());
    this.term.loadAddon(new WebLinksAddon((_, uri) => void openLink(uri)));
    const guarded = guard(this.term);
    this.term.onData((s) => (guarded.answering ? user.answered(utf8.encode(s)) : user.typed(utf8.encode(s))));
    this.term.onBinary((s) => user.typed(Uint8Array.from(s, (c) => c.charCodeAt(0))));
    this.term.onResize((s) => user.resized(s));
    this.term.onTitleChange((t) => user.titled(t));
    this.term.onBell(() => user.rang());
    this.term.onSelectionChange(() => user.selected());
    this.term.attachCustomKeyEventHandler((e) => !(e.type === "keydown" && user.key(e)));
    this.observer = new ResizeObserver(() => this.refit());
  }

  /** open shows it; its host must be in the page and seen. */
  open(): void {
    this.term.open(this.host);
    this.term.textarea?.setAttribute("aria-description", `${named("0")} leaves the terminal for its toolbar`);
    takeInserted(this.term);
    this.fit();
    this.observer.observe(this.host);
  }

  get size(): Size {
    return clamp({ cols: this.term.cols, rows: this.term.rows });
  }

  /** borrow takes the size of another screen while this one is not seen. */
  borrow(s: Size): void {
    this.term.resize(s.cols, s.rows);
  }

  write(b: Uint8Array, done: () => void): void {
    this.term.write(this.whole.take(b), done);
  }

  /** follow takes the size of the owner's terminal. */
  follow(s: Size): void {
    this.fixed = true;
    this.host.classList.add("watched");
    this.term.resize(s.cols, s.rows);
  }

  focus(): void {
    this.term.focus();
  }

  /** accelerate lets the graphics card draw, where it can; at most one screen should, as a browser has few contexts. */
  accelerate(): void {
    if (this.gpu || this.plain) return;
    if (!fastGraphics()) {
      this.plain = true;
      return;
    }
    try {
      const addon = new WebglAddon();
      addon.onContextLoss(() => {
        this.decelerate();
        this.plain = true;
      });
      this.term.loadAddon(addon);
      this.gpu = addon;
    } catch {
      this.plain = true; // the page's own elements are the screen
    }
    this.fit(); // the two measure characters differently
  }

  decelerate(): void {
    this.gpu?.dispose();
    this.gpu = undefined;
  }

  search(): Promise<SearchAddon> {
    return (this.searcher ??= this.loadSearch());
  }

  private async loadSearch(): Promise<SearchAddon> {
    try {
      const { SearchAddon } = await import("@xterm/addon-search");
      const s = new SearchAddon();
      this.term.loadAddon(s);
      return s;
    } catch (err) {
      this.searcher = undefined; // the next key tries again
      throw err;
    }
  }

  restyle(): void {
    this.term.options.theme = theme();
    this.term.options.fontSize = fontSize();
    this.refit();
  }

  dispose(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.term.dispose();
  }

  private refit(): void {
    cancelAnimationFrame(this.frame);
    this.frame = requestAnimationFrame(() => this.fit());
  }

  private fit(): void {
    if (this.fixed || this.host.clientWidth === 0) return; // hidden: keep the size
    const p = this.fitter.proposeDimensions();
    if (!p || !Number.isFinite(p.cols) || !Number.isFinite(p.rows)) return;
    const s = clamp(p);
    if (s.cols !== this.term.cols || s.rows !== this.term.rows) this.term.resize(s.cols, s.rows);
  }
}

/** fontSize is what the person chose, in pixels. */
export function fontSize(): number {
  let n = 14;
  try {
    n = Number(localStorage.getItem(fontKey) ?? n);
  } catch {
    // storage is switched off
  }
  return Math.min(Math.max(Math.round(n) || 14, smallest), largest);
}

export function changeFont(by: number): void {
  try {
    localStorage.setItem(fontKey, String(Math.min(Math.max(fontSize() + by, smallest), largest)));
  } catch {
    // storage is switched off: the size stays
  }
}

function readerWanted(): boolean {
  try {
    return localStorage.getItem(readerKey) === "1";
  } catch {
    return false;
  }
}

/** skipsOutput says whether output that waits may be left out when Ctrl-C is typed. */
export function skipsOutput(): boolean {
  try {
    return localStorage.getItem(skipKey) !== "0";
  } catch {
    return true;
  }
}

/** rememberSkip keeps it; sessions that are attached from then on follow. */
export function rememberSkip(on: boolean): void {
  try {
    localStorage.setItem(skipKey, on ? "" : "0");
  } catch {
    // storage is switched off: output may be left out
  }
}

/** rememberReader keeps whether the person uses a screen reader. */
export function rememberReader(on: boolean): void {
  try {
    localStorage.setItem(readerKey, on ? "1" : "");
  } catch {
    // then it lasts as long as the page
  }
}

/** isDark says which theme the page shows. */
export function isDark(): boolean {
  const chosen = document.documentElement.dataset["theme"];
  return chosen ? chosen === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function theme() {
  return isDark() ? dark : light;
}

async function openLink(uri: string): Promise<void> {
  const u = webAddress(uri);
  if (!u) return;
  const go = el("a", { class: "button primary", href: u.href, target: "_blank", rel: "noopener noreferrer" }, "Open");
  await ask({
    title: `Open a page of ${u.host}?`,
    body: [el("p", {}, "This address comes from the terminal. It opens in a new tab, which learns nothing of this one."), el("p", { class: "address mono" }, u.href)],
    yes: go,
  });
}
