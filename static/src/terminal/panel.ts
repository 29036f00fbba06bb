import type { Problem } from "../api/problem";
import { explain, sentence } from "../wire/hints";
import { button, el } from "./dom";
import type { Link } from "./link";
import { plain } from "./text";

// What lies over the screen when there is nothing to type into: progress, errors, endings.

/** Way is a button or link of a panel; leave marks one that gives up. */
export type Way = { label: string; leave?: boolean } & ({ go: () => void } | { href: string });

function ways(list: Way[]): HTMLElement {
  return el("div", { class: "buttons start" }, ...list.map((w, i) => {
    const look = i === 0 && w.leave !== true ? "button primary" : "button";
    return "href" in w ? el("a", { class: look, href: w.href }, w.label) : button(w.label, { class: look }, w.go);
  }));
}

export function card(title: string, lines: (Node | string | undefined)[], list: Way[]): HTMLElement {
  const said = lines.filter((l): l is Node | string => l !== undefined && l !== "");
  return el("div", { class: "card", role: "group", "aria-label": title }, el("h2", {}, title), ...said.map((l) => (typeof l === "string" ? el("p", {}, l) : l)), ways(list));
}

/** progress shows that something takes time, and how long it has. */
export function progress(title: string, cancel: () => void): HTMLElement {
  const time = el("span", { class: "muted num" });
  const began = performance.now();
  const timer = setInterval(() => {
    if (!time.isConnected && performance.now() - began > 2000) clearInterval(timer);
    time.textContent = `${Math.floor((performance.now() - began) / 1000)} s`;
  }, 1000);
  return el("div", { class: "card", role: "status" }, el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("strong", {}, title), time),
    el("p", { class: "muted" }, "The relay asks the machine, which finds your login and lets the session's key in."), ways([{ label: "Cancel", leave: true, go: cancel }]));
}

/** problem shows an error: what happened, details, and what can be done. */
export function problem(p: Problem, list: Way[], extra?: HTMLElement): HTMLElement {
  const detail = p.detail === "" ? undefined : el("p", { class: "mono detail" }, plain(p.detail, 400));
  const c = card(p.title, [detail, p.hint, extra], list);
  c.setAttribute("role", "alert");
  return c;
}

/** signIn is the address that leads back here afterwards. */
export function signIn(): string {
  return "/signin?next=" + encodeURIComponent(location.pathname + location.search);
}

/** chooseLogin asks for the login; known are those that the machine named. */
export function chooseLogin(detail: string, go: (login: string) => void): HTMLElement {
  const known = detail.split(/[,\s]+/).filter((s) => /^[a-zA-Z0-9_][a-zA-Z0-9_.@\\-]{0,63}$/.test(s));
  const input = el("input", { class: "input", id: "login", name: "login", autocomplete: "off", autocapitalize: "off", spellcheck: "false", required: true, maxlength: "64" });
  const form = el("form", { class: "stack tight" }, el("label", { for: "login" }, "Login on the machine"),
    el("div", { class: "row nowrap" }, input, el("button", { class: "button primary" }, "Open")));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    if (input.value.trim() !== "") go(input.value.trim());
  });
  if (known.length === 0 || known.length > 12) return form;
  return el("div", { class: "stack" }, el("div", { class: "row" }, ...known.map((k) => button(k, { class: "button mono" }, () => go(k)))), form);
}

/** ending tells how a session ended. */
export function ending(link: Link, list: Way[]): HTMLElement | undefined {
  if (link.state.name !== "ended") return undefined;
  const { exit } = link.state;
  if (exit.code === 0) {
    const how = exit.signal !== "" ? `The shell was ended by the signal ${plain(exit.signal, 16)}.` : exit.status !== 0 ? `The shell ended with status ${exit.status}.` : "The shell ended.";
    return card(how, [exit.detail === "" ? undefined : el("p", { class: "mono detail" }, plain(exit.detail, 400))], list);
  }
  const e = explain(exit.code);
  return card(e.title, [exit.detail === "" ? undefined : el("p", { class: "mono detail" }, plain(sentence(exit.detail), 400)), e.hint], list);
}
