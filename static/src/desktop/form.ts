import { el } from "../viewer/dom";
import { layouts, ownLayout } from "./layouts";
import { recall, remember } from "./memory";

/** Wish is what the person wants of an RDP server. */
export interface Wish {
  username: string;
  password: string;
  domain: string;
  security: string;
  keyboard: string;
}

const securities: readonly (readonly [string, string])[] = [["any", "What the machine prefers"], ["nla", "NLA: the password is proven first"], ["tls", "TLS: the machine asks for it"]];

export function field(label: string, input: HTMLElement, help?: string): HTMLElement {
  const h = help === undefined ? undefined : el("p", { class: "help", id: `${input.id}-help` }, help);
  if (h) input.setAttribute("aria-describedby", h.id);
  return el("div", { class: "field" }, el("label", { for: input.id }, label), input, h);
}

function choice(id: string, options: readonly (readonly [string, string])[]): HTMLSelectElement {
  return el("select", { class: "input", id, name: id }, ...options.map(([value, text]) => el("option", { value }, text)));
}

/** text is a field whose value the browser shall not correct. */
function text(id: string, autocomplete: string, more: Record<string, string | boolean> = {}): HTMLInputElement {
  return el("input", { class: "input", id, name: id, autocomplete, autocapitalize: "off", spellcheck: "false", maxlength: "256", ...more });
}

/** rdpForm asks for what an RDP server wants to know; go gets the password, and the field loses it. */
export function rdpForm(envoy: string, where: string, problem: HTMLElement | undefined, go: (w: Wish) => void): HTMLElement {
  const old = recall(envoy);
  const username = text("username", "username", { required: true });
  const password = text("password", "current-password", { type: "password" });
  const domain = text("domain", "off");
  const security = choice("security", securities);
  const keyboard = choice("keyboard", layouts);
  const known = (s: HTMLSelectElement, v: string | undefined) => v !== undefined && [...s.options].some((o) => o.value === v);
  username.value = old.username ?? "";
  domain.value = old.domain ?? "";
  if (known(security, old.security)) security.value = old.security ?? "";
  keyboard.value = "en-us-qwerty";
  if (known(keyboard, old.keyboard)) keyboard.value = old.keyboard ?? "";
  else {
    let touched = false;
    keyboard.addEventListener("change", () => (touched = true));
    void ownLayout().then((l) => {
      if (!touched && known(keyboard, l)) keyboard.value = l;
    });
  }
  const more = el("details", { class: "more-fields", open: (old.domain ?? "") !== "" || (old.security ?? "any") !== "any" }, el("summary", {}, "More"),
    el("div", { class: "stack" }, field("Domain", domain, "Only where accounts belong to one."), field("Security", security)));
  const form = el("form", { class: "card form", "aria-labelledby": "form-title" },
    el("h1", { id: "form-title" }, `Remote desktop on ${where}`), problem,
    field("User name", username), field("Password", password, "It goes to the machine, and is stored nowhere."), field("Keyboard", keyboard), more,
    el("div", { class: "buttons start" }, el("button", { class: "button primary" }, "Connect"), el("a", { class: "button", href: "/" }, "Fleet")));
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const w = { username: username.value.trim(), password: password.value, domain: domain.value.trim(), security: security.value, keyboard: keyboard.value };
    password.value = "";
    remember(envoy, w);
    go(w);
  });
  return form;
}

/** Visit is what the person wants at somebody's screen. */
export interface Visit {
  view: boolean;
  purpose: string;
}

const maxPurpose = 200; // bytes, see wire.MaxPurpose

/** consoleForm asks how and why to join somebody at their screen. */
export function consoleForm(who: string, where: string, problem: HTMLElement | undefined, go: (v: Visit) => void): HTMLElement {
  const radio = (value: string, checked: boolean, label: string, help: string) =>
    el("label", { class: "choice" }, el("input", { type: "radio", name: "way", value, checked }), el("span", {}, el("strong", {}, label), el("span", { class: "help" }, help)));
  const purpose = text("purpose", "off", { required: true, maxlength: String(maxPurpose) });
  const user = who === "" ? "the user" : who;
  const form = el("form", { class: "card form", "aria-labelledby": "form-title" },
    el("h1", { id: "form-title" }, who === "" ? `The screen of ${where}` : `${who}'s screen at ${where}`), problem,
    el("p", {}, `Scrier asks ${user} at the screen first, and shows them your name. They can say no, and end it at any time.`),
    el("fieldset", { class: "stack tight" }, el("legend", {}, "What do you want to do?"),
      radio("control", true, "Control", "See the screen, type and point."), radio("view", false, "View", "See the screen only.")),
    field("Why", purpose, `${user === who ? who : "The user"} reads this.`),
    el("div", { class: "buttons start" }, el("button", { class: "button primary" }, `Ask ${user}`), el("a", { class: "button", href: "/" }, "Fleet")));
  purpose.addEventListener("input", () => {
    const long = new TextEncoder().encode(purpose.value).length > maxPurpose;
    purpose.setCustomValidity(long ? "This is too long." : "");
  });
  form.addEventListener("submit", (e) => {
    e.preventDefault();
    const way = form.querySelector<HTMLInputElement>("input[name=way]:checked")?.value;
    go({ view: way === "view", purpose: purpose.value.trim() });
  });
  return form;
}
