const step = 24; // pixels that two fingers part for one pixel of the text

/** pinch makes two fingers on an element change the text's size; by is in pixels of the text. */
export function pinch(on: HTMLElement, by: (pixels: number) => void): void {
  let apart = 0;
  const distance = (t: TouchList) => Math.hypot(t[0]!.clientX - t[1]!.clientX, t[0]!.clientY - t[1]!.clientY);
  on.addEventListener("touchstart", (e) => {
    if (e.touches.length === 2) apart = distance(e.touches);
  }, { passive: true });
  on.addEventListener("touchmove", (e) => {
    if (e.touches.length !== 2) return;
    e.preventDefault(); // the page itself stays as large as it is
    e.stopPropagation();
    const n = Math.trunc((distance(e.touches) - apart) / step);
    if (n === 0) return;
    apart += n * step;
    by(n);
  }, { passive: false, capture: true });
}
