import { el } from "../viewer/dom";
import { field } from "./form";

const labels: Readonly<Record<string, string>> = { username: "User name", password: "Password", domain: "Domain" };

/**
 * credentials asks for what the desktop server wants to know before it lets anybody in. It resolves
 * with the answers, or undefined when the person gives up; shut ends it from outside.
 */
export function credentials(names: readonly string[], where: string, refused: boolean, shut: AbortSignal): Promise<Map<string, string> | undefined> {
  return new Promise((resolve) => {
    const inputs = names.map((n) => {
      const secret = n === "password";
      return el("input", { class: "input", id: `need-${n}`, name: n, type: secret ? "password" : "text", autocomplete: secret ? "current-password" : n === "username" ? "username" : "off", autocapitalize: "off", spellcheck: "false", maxlength: "256" });
    });
    const no = el("button", { type: "button", class: "button" }, "Cancel");
    const form = el("form", { class: "body" }, el("h2", { id: "need-title" }, `The desktop on ${where} wants to know`),
      refused ? el("p", { class: "bad-text", role: "alert" }, "That was not accepted. Try again.") : undefined,
      ...inputs.map((i) => field(labels[i.name] ?? i.name, i)), el("p", { class: "help" }, "It goes to the machine, and is stored nowhere."),
      el("div", { class: "buttons" }, no, el("button", { class: "button primary" }, "Go on")));
    const dialog = el("dialog", { class: "box", "aria-labelledby": "need-title" }, form);
    let answer: Map<string, string> | undefined;
    const close = () => dialog.close();
    form.addEventListener("submit", (e) => {
      e.preventDefault();
      answer = new Map(inputs.map((i) => [i.name, i.value]));
      for (const i of inputs) i.value = "";
      close();
    });
    no.addEventListener("click", close);
    shut.addEventListener("abort", close);
    dialog.addEventListener("close", () => {
      shut.removeEventListener("abort", close);
      dialog.remove();
      resolve(answer);
    });
    document.body.append(dialog);
    dialog.showModal();
    inputs[0]?.focus();
  });
}
