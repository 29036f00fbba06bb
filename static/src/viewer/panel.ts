import type { Problem } from "../api/problem";
import { explain, sentence } from "../wire/hints";
import type { Ended } from "../wire/messages";
import { button, el } from "./dom";
import { plain } from "./text";

// What lies over the screen when there is nothing to type into: progress, errors, endings.

/** Way is a button or link of a panel; leave marks one that gives up. */
export type Way = { label: string; leave?: boolean } & ({ go: () => void } | { href: string });

/** fleet is the way out that is always there. */
export const fleet: Way = { label: "Fleet", leave: true, href: "/" };

function ways(list: Way[]): HTMLElement {
  return el("div", { class: "buttons start" }, ...list.map((w, i) => {
    const look = i === 0 && w.leave !== true ? "button primary" : "button";
    return "href" in w ? el("a", { class: look, href: w.href }, w.label) : button(w.label, { class: look }, w.go);
  }));
}

export function card(title: string, lines: (Node | string | undefined)[], list: Way[]): HTMLElement {
  const said = lines.filter((l): l is Node | string => l !== undefined && l !== "");
  return el("div", { class: "card", role: "group", "aria-label": title }, el("h2", {}, title), ...said.map((l) => (typeof l === "string" ? el("p", {}, ...prose(l)) : l)), ways(list));
}

/** prose writes what stands between backquotes as code. */
export function prose(text: string): (Node | string)[] {
  return text.split("`").map((part, i) => (i % 2 ? el("code", {}, part) : part));
}

/** progress shows that something takes time, and how long it has. */
export function progress(title: string, why: string, cancel: () => void): HTMLElement {
  const time = el("span", { class: "muted num" });
  const began = performance.now();
  const timer = setInterval(() => {
    if (!time.isConnected && performance.now() - began > 2000) clearInterval(timer);
    time.textContent = `${Math.floor((performance.now() - began) / 1000)} s`;
  }, 1000);
  return el("div", { class: "card", role: "status" }, el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("strong", {}, title), time),
    el("p", { class: "muted" }, why), ways([{ label: "Cancel", leave: true, go: cancel }]));
}

/** problem shows an error: what happened, details, and what can be done. */
export function problem(p: Problem, list: Way[], extra?: HTMLElement): HTMLElement {
  const detail = p.detail === "" ? undefined : el("p", { class: "mono detail" }, plain(p.detail, 400));
  const c = card(p.title, [detail, p.hint, extra], list);
  c.setAttribute("role", "alert");
  return c;
}

/** retrying is the ways out of an error: trying again comes first where it can help by itself, and not at all where it cannot. */
export function retrying(p: Problem, again: Way): Way[] {
  if (p.signIn) return [{ ...again, leave: true }, fleet];
  if (p.final) return [{ ...fleet, leave: false }];
  return p.passing ? [again, fleet] : [{ ...fleet, leave: false }, again];
}

/** signIn is the address that leads back here afterwards. */
export function signIn(): string {
  return "/signin?next=" + encodeURIComponent(location.pathname + location.search);
}

/** broken tells of a session that an error ended. */
export function broken(exit: Ended, list: Way[], more?: string): HTMLElement {
  const e = explain(exit.code);
  return card(e.title, [exit.detail === "" ? undefined : el("p", { class: "mono detail" }, plain(sentence(exit.detail), 400)), e.hint, more], list);
}
