import type { Client, Display } from "@glokon/guacamole-common-js";
import { el } from "../viewer/dom";
import { pointer, type State } from "./pointer";
import { pinches, touches, type Fingers } from "./touch";
import { Typewriter } from "./typewriter";

/** Events is who listens to a screen. */
export interface Events {
  key(keysym: number, down: boolean): void;
  text(s: string): void; // typed without keys
  fits(width: number, height: number): void; // the desktop would fill the screen with so many pixels
  measured(): void; // the picture has another size
  gesture(): void; // the person did something
}

export type Zoom = "fit" | "real";

const settle = 250; // ms that a window must keep its size before the desktop follows
const smallest = 200; // pixels each way that an RDP server accepts
const largest = 8192;
const mostZoom = 8;
const largestCursor = 128; // CSS pixels that browsers show of one
const wide = 240; // CSS pixels that what is composed has room for, at the right edge too
const high = 32;

/** Screen shows the picture of a desktop and takes what keyboard, mouse and fingers do on it. */
export class Screen {
  /** element holds the canvases of the picture that is shown, and no other. */
  readonly element = el("div", { class: "desktop", "data-desktop": true, tabindex: "0", role: "application", "aria-describedby": "way-out" });
  /** sink has the focus when the desktop has: it takes keys, and what is composed. */
  readonly sink = el("textarea", { class: "sink", "aria-label": "Type to the desktop", autocapitalize: "off", autocomplete: "off", autocorrect: "off", spellcheck: "false", tabindex: "-1", inputmode: "none" });
  zoom: Zoom = "fit";
  fingers: Fingers = "direct";

  private readonly typewriter: Typewriter;
  private client: Client | undefined; // whose picture is shown
  private display: Display | undefined;
  private pane = el("div", { class: "picture" });
  private pinch = 1;
  private pinched = 1;
  private scale = 1;
  private last: State | undefined; // where fingers left the pointer, in CSS pixels
  private later: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly events: Events) {
    this.typewriter = new Typewriter(this.sink, {
      key: (k, down) => {
        if (down) events.gesture();
        events.key(k, down);
      },
      text: (t) => {
        events.gesture();
        events.text(t);
      },
    });
    const release = () => this.release();
    this.sink.addEventListener("blur", () => {
      release();
      this.sink.inputMode = "none";
    });
    addEventListener("blur", release);
    document.addEventListener("visibilitychange", release);
    this.element.addEventListener("focus", () => this.focus());
    this.element.addEventListener("pointerdown", (e) => {
      events.gesture();
      this.place(e);
    });
    pointer(this.element, () => this.display && { box: this.pane.getBoundingClientRect(), scale: this.scale }, (s) => this.point(s, 1, false), () => this.focus());
    pinches(this.element, () => this.fingers === "direct", {
      begin: () => (this.pinched = this.pinch),
      to: (factor, now, before) => this.pinchTo(this.pinched * factor, now, before),
    });
    this.wire();
    new ResizeObserver(() => {
      this.fit();
      this.measure();
    }).observe(this.element);
  }

  /** size is the picture's, in its own pixels. */
  get size(): { width: number; height: number } | undefined {
    const d = this.display;
    return d && d.getWidth() > 0 ? { width: d.getWidth(), height: d.getHeight() } : undefined;
  }

  /** room is the size that would fill the screen, in the device's pixels. */
  get room(): { width: number; height: number } {
    const ratio = devicePixelRatio || 1;
    const one = (css: number) => Math.min(Math.max(Math.floor(css * ratio), smallest), largest);
    // An odd width is not for every RDP server.
    return { width: one(this.element.clientWidth) & ~1, height: one(this.element.clientHeight) };
  }

  /** show shows the client's picture as soon as it is whole; until then the old one stays. */
  show(client: Client): void {
    this.client = client;
    this.release();
    const display = client.getDisplay();
    display.onresize = () => {
      if (this.display !== display) return;
      this.fit();
      this.events.measured();
    };
    let cursor = () => {};
    display.oncursor = (canvas, x, y) => {
      cursor = () => this.cursor(canvas, x, y);
      if (this.display === display) cursor();
    };
    client.onsync = () => {
      client.onsync = null;
      display.flush(() => {
        if (this.client !== client) return;
        this.swap(display);
        cursor();
      });
    };
    if (!this.display) this.swap(display);
    this.measure();
  }

  /** dim shows that the picture is an old one. */
  dim(on: boolean): void {
    this.element.classList.toggle("dim", on);
  }

  setZoom(z: Zoom): void {
    this.zoom = z;
    this.pinch = 1;
    this.fit();
  }

  setFingers(f: Fingers): void {
    this.fingers = f;
    this.display?.showCursor(f === "pad");
    const old = this.pane;
    this.pane = el("div", { class: "picture" });
    this.pane.append(...old.childNodes);
    old.replaceWith(this.pane);
    this.wire();
  }

  /** release lets go of the keys that are down. */
  release(): void {
    this.typewriter.release();
  }

  /** focused says whether what is typed goes to the desktop. */
  get focused(): boolean {
    return document.activeElement === this.sink;
  }

  focus(): void {
    if (!this.focused) this.sink.focus({ preventScroll: true });
  }

  /** type opens the keyboard of a phone. */
  type(): void {
    this.sink.blur(); // a phone looks at the field when it gets the focus
    this.sink.inputMode = "text";
    this.sink.focus({ preventScroll: true });
  }

  // place puts the field where the person works: the lists of an input method open beside it.
  private place(e: PointerEvent): void {
    const box = this.element.getBoundingClientRect();
    this.sink.style.left = `${Math.max(0, Math.min(e.clientX - box.left, box.width - wide))}px`;
    this.sink.style.top = `${Math.max(0, Math.min(e.clientY - box.top, box.height - high))}px`;
  }

  private swap(display: Display): void {
    const old = this.display;
    this.display = display;
    display.showCursor(this.fingers === "pad");
    this.pane.replaceChildren(display.getElement());
    if (!this.pane.isConnected) this.element.replaceChildren(this.pane);
    this.fit();
    this.dim(false);
    this.events.measured();
    // The library's listeners keep a display for good; its pixels need not stay.
    if (old && old !== display) for (const c of old.getElement().querySelectorAll("canvas")) c.width = c.height = 0;
  }

  private fit(): void {
    const size = this.size;
    if (!size || !this.display) return;
    const ratio = devicePixelRatio || 1;
    const { clientWidth: w, clientHeight: h } = this.element;
    const base = this.zoom === "real" ? 1 / ratio : Math.min(w / size.width, h / size.height);
    // A picture that fills the screen is shown pixel by pixel, without the blur of a rounding.
    const exact = Math.abs(base * ratio - 1) < 0.01 ? 1 / ratio : base;
    this.scale = Math.max(exact * this.pinch, 0.01);
    this.display.scale(this.scale);
  }

  private measure(): void {
    clearTimeout(this.later);
    this.later = setTimeout(() => {
      // A phone's keyboard makes the window smaller for a moment only.
      if ((this.focused && this.sink.inputMode !== "none") || this.element.clientWidth === 0) return;
      this.events.fits(this.room.width, this.room.height);
    }, settle);
  }

  private point(s: State, scale: number, soft: boolean): void {
    if (!this.client) return;
    this.client.sendMouseState({ ...s, x: s.x / scale, y: s.y / scale } as Parameters<Client["sendMouseState"]>[0]);
    if (soft) this.follow(s);
  }

  private wire(): void {
    touches(this.pane, this.fingers, this.last, (s) => {
      this.last = { ...s };
      this.point(s, this.scale, this.fingers === "pad");
    });
  }

  // follow keeps the pointer of a touchpad in sight, where the picture is larger than the screen.
  private follow(s: State): void {
    const e = this.element;
    const margin = 40; // CSS pixels
    const one = (at: number, from: number, room: number) => (at < from + margin ? at - margin : at > from + room - margin ? at - room + margin : from);
    e.scrollTo(one(s.x, e.scrollLeft, e.clientWidth), one(s.y, e.scrollTop, e.clientHeight));
  }

  private pinchTo(factor: number, now: { x: number; y: number }, before: { x: number; y: number }): void {
    const e = this.element;
    const box = e.getBoundingClientRect();
    const old = this.scale;
    this.pinch = Math.min(Math.max(factor, 1), mostZoom);
    this.fit();
    const grown = this.scale / old;
    e.scrollLeft = (e.scrollLeft + before.x - box.left) * grown - (now.x - box.left);
    e.scrollTop = (e.scrollTop + before.y - box.top) * grown - (now.y - box.top);
  }

  private cursor(canvas: HTMLCanvasElement, x: number, y: number): void {
    if (canvas.width === 0 || canvas.height === 0) {
      this.pane.style.cursor = "none";
      return;
    }
    // In the size of the picture, so that a hand fits to what it points at.
    const shrink = Math.min(1, this.scale, largestCursor / canvas.width, largestCursor / canvas.height);
    let shown = canvas;
    if (shrink < 0.95) {
      shown = el("canvas", { width: String(Math.max(1, Math.round(canvas.width * shrink))), height: String(Math.max(1, Math.round(canvas.height * shrink))) });
      shown.getContext("2d")?.drawImage(canvas, 0, 0, shown.width, shown.height);
    }
    this.pane.style.cursor = `url(${shown.toDataURL()}) ${Math.floor(x * Math.min(shrink, 1))} ${Math.floor(y * Math.min(shrink, 1))}, default`;
  }
}
