import { maxAnswer, type Ask, type Said } from "../wire/messages";
import { button, el } from "./dom";
import { place, visible } from "./text";

const maxText = 64 << 10; // characters, of all that is shown
const utf8 = new TextEncoder();

/** Asked is told what the person does. */
export interface Asked {
  answer(id: number, texts: Uint8Array[]): void;
  cancel(): void;
}

/**
 * Login is what a machine says and asks before there is a shell. Its words stand in quotes of their own, with its name
 * above them, so that they do not look like the page's.
 */
export class Login {
  readonly element = el("div", { class: "card login" });
  private told = ""; // what it has said
  private before = ""; // what it has said before its last question
  private again = false; // the next that is said is all of it
  private who = "";
  private open = 0; // the question that is shown; 0: none

  constructor(private readonly to: Asked) {
    this.wait();
  }

  /** text is all that the machine has said. */
  get text(): string {
    return joined(this.told, this.before);
  }

  /** anew says that there is a new connection: all that was said comes again. */
  anew(): void {
    this.again = true;
  }

  said(m: Said): void {
    this.who = place(m.login, m.envoy);
    this.told = joined(this.again ? "" : this.told, clean(m.text));
    this.again = false;
    if (this.open === 0) this.wait();
  }

  /** ask shows a question; one that is shown already, as the connection broke, stays with what was typed. */
  ask(m: Ask): void {
    if (this.open === m.id) return;
    this.who = place(m.login, m.envoy);
    this.told = joined(this.told, this.before);
    this.before = clean(m.text);
    this.open = m.id;
    const inputs = m.questions.map((q, i) => el("input", {
      class: "input", id: `login-${i}`, type: q.echo ? "text" : "password", autocomplete: q.echo ? "off" : "one-time-code",
      autocapitalize: "off", spellcheck: "false", maxlength: String(maxAnswer),
    }));
    const fields = m.questions.map((q, i) => el("div", { class: "field" },
      el("label", { for: `login-${i}`, class: "quoted" }, m.password ? `Password of ${this.who}` : clean(q.text) || "(no text)"), inputs[i]));
    const warn = el("p", { class: "bad-text", role: "alert" });
    if (m.again) warn.textContent = "That was not accepted. Try again.";
    const form = el("form", { class: "stack" }, warn, ...fields,
      el("p", { class: "help" }, `The SSH server of ${this.who} asks this, not Scrier. What you answer goes to that machine, and is stored nowhere.`),
      el("div", { class: "buttons start" }, el("button", { class: "button primary" }, "Answer"), this.no()));
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      const texts = inputs.map((i) => utf8.encode(i.value));
      if (texts.some((t) => t.length > maxAnswer)) {
        warn.textContent = `An answer has at most ${maxAnswer} bytes.`;
        return;
      }
      for (const i of inputs) i.value = "";
      this.to.answer(m.id, texts);
      this.wait();
    });
    this.show(`${this.who} asks`, "group", this.quote(), form);
    inputs[0]?.focus();
  }

  // wait shows that the machine is at work.
  private wait(): void {
    this.open = 0;
    const what = this.who === "" ? "Logging in…" : `Logging in as ${this.who}…`;
    this.show(what, "status", el("p", { class: "row" }, el("span", { class: "spinner", "aria-hidden": "true" }), el("strong", {}, what)), this.quote(),
      el("div", { class: "buttons start" }, this.no()));
  }

  private show(title: string, role: string, ...parts: (Node | undefined)[]): void {
    const head = role === "group" ? el("h2", {}, title) : undefined;
    this.element.setAttribute("role", role);
    this.element.setAttribute("aria-label", title);
    this.element.replaceChildren(...[head, ...parts].filter((p) => p !== undefined));
  }

  private no(): HTMLElement {
    return button("Cancel", { class: "button" }, () => this.to.cancel());
  }

  private quote(): HTMLElement | undefined {
    return quote(this.who, this.text);
  }
}

/** quote shows what a machine has said; undefined if that is nothing. */
export function quote(who: string, text: string): HTMLElement | undefined {
  if (text === "") return undefined;
  return el("figure", { class: "said" }, el("figcaption", { class: "muted" }, `${who} says:`), el("pre", { class: "preview quoted", tabindex: "0" }, text));
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

function joined(a: string, b: string): string {
  return (a === "" || b === "" ? a + b : `${a}\n${b}`).slice(0, maxText);
}

// clean takes from untrusted text what could mislead; ends of lines stay.
function clean(text: string): string {
  return visible(text.slice(0, maxText)).replace(/\t/g, "    ").trimEnd();
}
