import { html, nothing, type TemplateResult } from "lit";
import { makeToken, type Envoy, type Token } from "../api";
import "../ui/copy";
import { clock } from "../ui/format";
import { icon } from "../ui/icon";
import { notice } from "../ui/notice";
import { Now } from "../ui/now";
import { openPath, plainName, reachable } from "./envoy";
import { relayAddress } from "./handover";
import { live } from "./live";
import { Page, valueOf } from "./page";

const lives: readonly [string, string][] = [["15m", "15 minutes"], ["1h", "1 hour"], ["8h", "8 hours"], ["24h", "1 day"]];

/** Enrol makes a token, shows the command for the machine, and waits for the machine to come. */
class Enrol extends Page {
  static override properties = { ...Page.properties, token: { state: true }, arrived: { state: true }, name: { state: true } };
  declare token: Token | undefined;
  declare arrived: string | undefined; // the new envoy's id
  declare name: string; // that was typed
  private known = new Set<string>(); // envoys that were there when the token was made
  private readonly now = new Now(this);

  constructor() {
    super();
    this.name = "";
  }

  override render(): TemplateResult {
    return html`<div class="page narrow"><div class="title"><h1>Enrol a machine</h1></div>${this.token ? this.waiting(this.token) : this.form()}</div>`;
  }

  private form(): TemplateResult {
    return html`<p class="muted">A token lets one machine join this relay, once. The machine needs Linux, the <code>scrier</code> program, and a way out to this relay by UDP; it opens no port of its own.</p>
      <form class="panel pad stack" @submit=${this.make}>
        <div class="field"><label for="name">Name</label>
          <input id="name" class="input" autocomplete="off" autocapitalize="off" spellcheck="false" placeholder="web1" maxlength="64" pattern=${plainName} title="Letters, digits, dots, dashes and underscores" aria-describedby="name-help"
            @input=${(e: Event) => (this.name = valueOf(e).trim())} />
          <span class="help" id="name-help">What the machine is called here. Left empty, it is called by its own hostname, also when that changes.</span></div>
        ${this.replacing()}
        <div class="field"><label for="ttl">The token works for</label>
          <select id="ttl" class="input">${lives.map(([v, word]) => html`<option value=${v}>${word}</option>`)}</select></div>
        ${this.failure ? notice(this.failure) : nothing}
        <div class="buttons"><button class="button primary" ?disabled=${this.busy || !live.loaded}>${this.busy ? html`<span class="spinner"></span>` : nothing}Make the command</button></div>
      </form>`;
  }

  private async make(e: SubmitEvent): Promise<void> {
    e.preventDefault();
    const name = this.querySelector<HTMLInputElement>("#name")?.value.trim() ?? "";
    const ttl = this.querySelector<HTMLSelectElement>("#ttl")?.value ?? "";
    this.known = new Set(live.envoys.keys());
    const replace = this.querySelector<HTMLInputElement>("#replace")?.checked ?? false;
    this.token = await this.attempt(() => makeToken(name, ttl, replace));
    await this.updateComplete;
    if (this.token) this.querySelector<HTMLElement>("h2")?.focus();
  }

  /** replacing offers that the machine takes the place of the one that has its name, if it is one. */
  private replacing(): TemplateResult | typeof nothing {
    const name = this.name.toLowerCase();
    const [e, ...more] = name ? [...live.envoys.values()].filter((v) => v.hostname.toLowerCase() === name && v.state !== "revoked") : [];
    if (!e || more.length) return nothing;
    return html`<label class="choice"><input id="replace" type="checkbox" />
      <span><strong>It is ${e.hostname}, enrolled again</strong><span class="muted small">The envoy ${e.id.slice(0, 8)} (${reachable(e) ? "connected" : "not connected"}) is removed, with its sessions, when this token is used.</span></span></label>`;
  }

  /** find is the envoy that came with this token: new, and of the token's name if it has one. */
  private find(t: Token): Envoy | undefined {
    if (!this.arrived) for (const e of live.envoys.values()) if (!this.known.has(e.id) && (!t.name || e.hostname === t.name)) this.arrived = e.id;
    return this.arrived ? live.envoys.get(this.arrived) : undefined;
  }

  private waiting(t: Token): TemplateResult {
    const e = this.find(t);
    const left = Date.parse(t.expires) - this.now.value;
    const command = `scrier agent enroll --relay ${relayAddress()} && scrier agent run`;
    return html`<section class="panel pad stack">
        <h2 tabindex="-1">Run this on the machine, as root</h2>
        <sc-copy .text=${command} label="command"></sc-copy>
        <p>It asks for the token. Paste it there; that way it is in no command history:</p>
        <sc-copy .text=${t.token} label="token"></sc-copy>
        <p class="muted">It enrols the machine${t.name ? html` as <strong>${t.name}</strong>` : nothing} and starts the agent in that terminal. To keep the agent running, start it as a service instead of
          <code>scrier agent run</code>: <code>systemctl enable --now scrier-agent</code>, with the unit in <code>deploy/scrier-agent.service</code>.</p>
      </section>
      <section class="panel pad stack" aria-live="polite">${e ? this.came(e) : left > 0 ? this.expected(left) : this.expired()}</section>
      <div class="row">
        <button class="button" type="button" @click=${this.again}>${e ? "Enrol another machine" : "Make another command"}</button>
      </div>`;
  }

  private expected(left: number): TemplateResult {
    return html`<div class="row"><span class="spinner"></span><strong>Waiting for the machine…</strong>
        <span class="muted num end" aria-live="off">The token works for ${clock(left)} more</span></div>
      <p class="muted">This page notices it by itself. If nothing happens, look at what the command says on the machine: a common cause is that UDP to ${relayAddress()} is not let through.</p>`;
  }

  private expired(): TemplateResult {
    return html`<div class="notice warn">${icon("warn")}<div><p><strong>The token has expired before a machine used it.</strong></p><p>Make another command, and run it in time.</p></div></div>`;
  }

  private came(e: Envoy): TemplateResult {
    if (e.state !== "online")
      return html`<div class="row"><span class="spinner"></span><strong>${e.hostname} is enrolled.</strong> Waiting for its agent to connect…</div>
        <p class="muted">If it does not, start it on the machine: <code>scrier agent run</code>.</p>`;
    return html`<div class="notice ok">${icon("ok")}<div><p><strong>${e.hostname} is online.</strong></p><p>${e.facts.os} ${e.facts.arch}, agent ${e.version}.</p></div></div>
      <div class="row">${live.may("open sessions") ? html`<a class="button primary" href=${openPath(e)}>${icon("shell")}Open a shell</a>` : nothing}
        <a class="button" href=${`/?q=${encodeURIComponent(e.hostname)}`}>Show it in the fleet</a></div>`;
  }

  private readonly again = (): void => {
    this.token = undefined;
    this.arrived = undefined;
    this.failure = undefined;
  };
}

customElements.define("scrier-enrol", Enrol);
