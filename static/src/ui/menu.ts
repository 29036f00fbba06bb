import { html, render } from "lit";
import { icon, type Icon } from "./icon";

/** Item is one line of a menu: a link, or something to do. */
export type Item = { word: string; icon?: Icon; danger?: boolean } & ({ href: string } | { go: () => void });

const edge = 8; // pixels that stay free around it

/** menu shows what can be done, at the element that was pressed. It is there until something is chosen or it is left. */
export function menu(at: Element, label: string, items: readonly (Item | false | undefined)[]): void {
  const lines = items.filter((i): i is Item => !!i);
  if (!lines.length) return;
  const box = document.createElement("div");
  box.className = "popmenu";
  box.setAttribute("role", "menu");
  box.setAttribute("aria-label", label);
  box.setAttribute("popover", "auto"); // Escape and a click elsewhere close it
  const back = document.activeElement;
  const close = () => box.matches(":popover-open") && box.hidePopover();
  const look = (i: Item) => html`${i.icon ? icon(i.icon) : html`<span class="gap"></span>`}<span>${i.word}</span>`;
  render(
    lines.map((i) => ("href" in i
      ? html`<a role="menuitem" tabindex="-1" href=${i.href} @click=${close}>${look(i)}</a>`
      : html`<button role="menuitem" tabindex="-1" type="button" class=${i.danger ? "danger" : ""} @click=${() => {
          close();
          i.go();
        }}>${look(i)}</button>`)),
    box,
  );
  const all = () => [...box.querySelectorAll<HTMLElement>("[role=menuitem]")];
  box.addEventListener("keydown", (e) => {
    const list = all();
    const i = list.indexOf(document.activeElement as HTMLElement);
    const to = { ArrowDown: i + 1, ArrowUp: i - 1, Home: 0, End: list.length - 1 }[e.key];
    if (e.key === "Tab") close();
    if (to === undefined) return;
    e.preventDefault();
    list.at(to % list.length)?.focus();
  });
  let place = (): void => {};
  box.addEventListener("toggle", (e) => {
    if ((e as ToggleEvent).newState !== "closed") return;
    removeEventListener("resize", place);
    removeEventListener("scroll", close, true);
    const had = box.contains(document.activeElement) || document.activeElement === document.body;
    box.remove();
    if (had && back instanceof HTMLElement && back.isConnected) back.focus({ preventScroll: true });
  });
  (at.closest("dialog") ?? document.body).append(box);
  box.showPopover();
  place = () => {
    const r = at.getBoundingClientRect();
    const { offsetWidth: w, offsetHeight: h } = box;
    const below = r.bottom + 4 + h <= innerHeight - edge;
    box.style.left = `${Math.max(edge, Math.min(r.right - w, innerWidth - edge - w))}px`;
    box.style.top = `${Math.max(edge, below ? r.bottom + 4 : r.top - 4 - h)}px`;
  };
  place();
  addEventListener("resize", place);
  addEventListener("scroll", close, true);
  all()[0]?.focus({ preventScroll: true });
}
