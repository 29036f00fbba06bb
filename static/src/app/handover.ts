import { html, nothing, type TemplateResult } from "lit";
import type { Link } from "../api";
import "../ui/copy";
import { date } from "../ui/format";
import { icon } from "../ui/icon";
import { Part } from "../ui/element";

/** relayAddress is how the command line names this relay. */
export function relayAddress(): string {
  return `${location.hostname}:${location.port || "443"}`;
}

/** shellWord makes a string one word of a shell's line. */
export function shellWord(s: string): string {
  return /^[\w@%+=:,./-]+$/.test(s) ? s : `'${s.replaceAll("'", `'\\''`)}'`;
}

/** Handover shows once what is to be handed to somebody: a link, and the command line's login. */
class Handover extends Part {
  override render(): TemplateResult {
    return html`<dialog class="box" aria-labelledby="handover-title" @close=${() => this.remove()}>
      <div class="body">
        <h2 id="handover-title">${this.heading}</h2>
        <div class="notice warn">${icon("warn")}<div>This is shown once. Whoever opens the link first is ${this.who}: hand it over where nobody else reads it.</div></div>
        <section class="stack tight"><h3>In a browser</h3><sc-copy .text=${this.link.url} label="link"></sc-copy><p class="muted small">It works once, until ${date(this.link.expires)}.</p></section>
        ${this.login ? html`<section class="stack tight"><h3>In a terminal</h3><sc-copy .text=${this.login} label="login line"></sc-copy></section>` : nothing}
        <div class="buttons"><button class="button primary" type="button" @click=${() => this.querySelector("dialog")?.close()}>Done</button></div>
      </div>
    </dialog>`;
  }
  heading = "";
  who = "";
  login = "";
  link: Link = { url: "", expires: "" };

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
  }
}

customElements.define("scrier-handover", Handover);

export function handOver(what: { heading: string; who: string; link: Link; login?: string }): void {
  document.body.append(Object.assign(document.createElement("scrier-handover"), what));
}
