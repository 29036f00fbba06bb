// The mouse, and a pen. The library's own loses the button when the pointer leaves the picture, and
// clicks where the pointer was last seen to move.

/** State is the pointer in the picture's pixels, with its buttons. */
export interface State {
  x: number;
  y: number;
  left: boolean;
  middle: boolean;
  right: boolean;
  up: boolean; // the wheel, which is two buttons
  down: boolean;
}

const notch = 53; // CSS pixels of scrolling that are one click of a wheel: what browsers give is 100 or more
const line = 18; // pixels
const lines = 16; // of a page
const mostNotches = 10; // at once

/** pointer tells each change of the pointer over the picture inside of host; focus is called when a button goes down. */
export function pointer(host: HTMLElement, picture: () => { box: DOMRect; scale: number } | undefined, tell: (s: State) => void, focus: () => void): void {
  const s: State = { x: 0, y: 0, left: false, middle: false, right: false, up: false, down: false };
  let scrolled = 0;
  const at = (e: MouseEvent): boolean => {
    const p = picture();
    if (!p || p.box.width === 0) return false;
    const within = (v: number, size: number) => Math.floor(Math.min(Math.max(v, 0), size - 1) / p.scale);
    s.x = within(e.clientX - p.box.left, p.box.width);
    s.y = within(e.clientY - p.box.top, p.box.height);
    return true;
  };
  const buttons = (e: PointerEvent) => {
    s.left = (e.buttons & 1) !== 0;
    s.right = (e.buttons & 2) !== 0;
    s.middle = (e.buttons & 4) !== 0;
  };
  const told = (e: PointerEvent) => {
    if (e.pointerType === "touch" || !at(e)) return;
    buttons(e);
    tell(s);
  };
  host.addEventListener("pointerdown", (e) => {
    if (e.pointerType === "touch" || e.target === host) return; // host's own: scrollbars, the margin
    // What is dragged out of the picture is still dragged.
    host.setPointerCapture(e.pointerId);
    told(e);
  });
  for (const type of ["pointermove", "pointerup"] as const) host.addEventListener(type, told);
  host.addEventListener("pointercancel", (e) => {
    if (e.pointerType === "touch") return;
    s.left = s.middle = s.right = false;
    tell(s);
  });
  // The middle button must not scroll, and no button select or drag; the focus is set by hand then.
  host.addEventListener("mousedown", (e) => {
    if (e.target !== host) e.preventDefault();
    focus();
  });
  host.addEventListener("contextmenu", (e) => e.preventDefault());
  host.addEventListener("auxclick", (e) => e.preventDefault());
  host.addEventListener("wheel", (e) => {
    e.preventDefault();
    if (!at(e)) return;
    const delta = e.deltaY * [1, line, line * lines][e.deltaMode]!;
    if (Math.sign(delta) !== Math.sign(scrolled)) scrolled = 0;
    scrolled += delta;
    const n = Math.min(Math.trunc(Math.abs(scrolled) / notch), mostNotches);
    if (n === 0) return;
    const way = scrolled > 0 ? "down" : "up";
    scrolled = 0;
    for (let i = 0; i < n; i++) {
      s[way] = true;
      tell(s);
      s[way] = false;
      tell(s);
    }
  }, { passive: false });
}
