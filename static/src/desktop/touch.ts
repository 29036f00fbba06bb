import { Mouse } from "@glokon/guacamole-common-js";
import type { State } from "./pointer";

/** Fingers is how a touch screen points: where it is touched, or like the touchpad of a laptop. */
export type Fingers = "direct" | "pad";

type Told = { state: State };

/** touches makes fingers on pane the pointer; x and y of what is told are pane's CSS pixels. */
export function touches(pane: HTMLElement, fingers: Fingers, start: State | undefined, tell: (s: State) => void): void {
  const t = fingers === "pad" ? new Mouse.Touchpad(pane) : new Mouse.Touchscreen(pane);
  if (start) Object.assign(t.currentState, { x: start.x, y: start.y });
  t.onEach(["mousedown", "mousemove", "mouseup"], (e) => tell((e as unknown as Told).state));
}

/** Pinch is told what two fingers do. */
export interface Pinch {
  begin(): void;
  /** to says how much wider than at the beginning the fingers are apart, and where they are and were. */
  to(factor: number, now: { x: number; y: number }, before: { x: number; y: number }): void;
}

/** pinches watches for two fingers on host. */
export function pinches(host: HTMLElement, wanted: () => boolean, p: Pinch): void {
  let from: { width: number; x: number; y: number } | undefined;
  const two = (e: TouchEvent) => {
    const [a, b] = [e.touches[0], e.touches[1]];
    if (e.touches.length !== 2 || !a || !b || !wanted()) return undefined;
    return { width: Math.max(Math.hypot(a.clientX - b.clientX, a.clientY - b.clientY), 1), x: (a.clientX + b.clientX) / 2, y: (a.clientY + b.clientY) / 2 };
  };
  const begin = (e: TouchEvent) => {
    from = two(e);
    if (!from) return;
    e.preventDefault();
    p.begin();
  };
  host.addEventListener("touchstart", begin, { passive: false });
  host.addEventListener("touchend", begin, { passive: false });
  host.addEventListener("touchmove", (e) => {
    const now = two(e);
    if (!now || !from) return;
    e.preventDefault();
    p.to(now.width / from.width, now, from);
    from = { ...now, width: from.width };
  }, { passive: false });
}
