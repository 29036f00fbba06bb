import { button, el } from "../viewer/dom";
import { broken, card, type Way } from "../viewer/panel";
import { plain } from "../viewer/text";
import type { Link } from "./link";

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
  return broken(exit, list);
}
