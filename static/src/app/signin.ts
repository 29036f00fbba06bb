import { html, nothing, type TemplateResult } from "lit";
import { lookAtLink, Problem, self, signInByLink, signinInfo, type LinkFor, type SignedIn } from "../api";
import { icon } from "../ui/icon";
import { loading, notice, prose } from "../ui/notice";
import { relayAddress } from "./handover";
import { Page } from "./page";
import { addPasskey, deviceName, passkeysWork, signInWithPasskey } from "./passkey";

/** nextPath is where to go on after signing in: a path of this relay, and nothing else. */
export function nextPath(search: string): string {
  const next = new URLSearchParams(search).get("next") ?? "";
  if (!/^\/(?![/\\])/.test(next)) return "/";
  try {
    const u = new URL(next, location.origin);
    return u.origin === location.origin && u.pathname !== "/signin" ? u.pathname + u.search : "/";
  } catch {
    return "/";
  }
}

// The token leaves the address bar before anything else happens: no history, no screenshot and no
// shared screen keeps it.
function takeToken(): string {
  const token = location.hash.slice(1);
  if (token) history.replaceState(null, "", location.pathname + location.search);
  return token;
}

/** SignIn signs a person in, by a link or by a passkey. */
class SignInPage extends Page {
  static override properties = { ...Page.properties, passkeys: { state: true }, why: { state: true }, offered: { state: true }, who: { state: true }, asked: { state: true } };
  declare passkeys: boolean;
  declare why: string;
  declare offered: LinkFor | undefined; // whom the link signs in, if the person wants that
  declare who: SignedIn | undefined; // signed in by a link, and may make a passkey now
  declare asked: boolean; // what the relay can is known
  private token = "";
  private readonly arrived = () => void this.begin(); // a link that was pasted into this very tab

  constructor() {
    super();
    this.passkeys = this.asked = false;
    this.why = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    addEventListener("hashchange", this.arrived);
    void this.begin();
  }

  override disconnectedCallback(): void {
    removeEventListener("hashchange", this.arrived);
    super.disconnectedCallback();
  }

  private async begin(): Promise<void> {
    const token = takeToken();
    if (token) this.token = token;
    else if (this.asked) return;
    await this.attempt(async () => {
      const info = signinInfo().catch(() => ({ passkeys: false, why: "" })); // a link works without knowing this
      if (this.token) {
        this.offered = await lookAtLink(this.token).finally(async () => this.show(await info)); // a passkey may work where the link does not
        return;
      }
      this.show(await info);
      if (await signedInAlready()) this.goOn();
    });
    this.asked = true;
  }

  /** take signs in by the link, when the person has seen as whom: anybody may have sent it. */
  private readonly take = async (): Promise<void> => {
    await this.attempt(async () => {
      const who = await signInByLink(this.token).finally(() => {
        this.token = "";
        this.offered = undefined;
      });
      if (!this.passkeys || !passkeysWork()) return this.goOn();
      this.who = who;
    });
  };

  private question(to: LinkFor): TemplateResult {
    return html`<h1>Sign in as ${to.username}?</h1>
      <p>This link was made by ${to.by === to.username ? "you" : html`<strong>${to.by}</strong>`}. It signs this browser in as <strong>${to.username}</strong> (${to.role}).</p>
      <button class="button primary" type="button" ?disabled=${this.busy} @click=${this.take}>${this.busy ? html`<span class="spinner"></span>` : nothing}Sign in as ${to.username}</button>
      <p class="muted">If that is not you, close this page: somebody may want you to work in their name.</p>`;
  }

  private show(info: { passkeys: boolean; why: string }): void {
    this.passkeys = info.passkeys;
    this.why = info.why;
    this.asked = true;
  }

  private goOn(): void {
    location.replace(nextPath(location.search));
  }

  override render(): TemplateResult {
    return html`<main class="alone" id="main"><div class="signin panel pad stack">
      <div class="brand"><img src="/favicon.svg" alt="" width="28" height="28" />Scrier</div>
      ${this.who ? this.offer(this.who) : this.offered ? this.question(this.offered) : !this.asked && !this.failure ? loading("Looking at the link…") : this.ways()}
    </div></main>`;
  }

  private offer(who: SignedIn): TemplateResult {
    return html`<h1>Welcome, ${who.username}</h1>
      <p>You are signed in. Add a passkey, and the next time you need no link: this device's screen lock or a security key is enough.</p>
      ${this.failure ? notice(this.failure) : nothing}
      <form class="stack" @submit=${this.add}>
        <div class="field"><label for="passkey-name">Name of the passkey</label><input id="passkey-name" class="input" required maxlength="64" autocomplete="off" .value=${deviceName()} /></div>
        <button class="button primary" ?disabled=${this.busy}>${this.busy ? html`<span class="spinner"></span>` : icon("key")}Add a passkey</button>
        <button class="button" type="button" @click=${this.goOn}>Not now</button>
      </form>`;
  }

  private async add(e: SubmitEvent): Promise<void> {
    e.preventDefault();
    const name = this.querySelector<HTMLInputElement>("#passkey-name")?.value.trim() ?? "";
    if (await this.attempt(() => addPasskey(name))) this.goOn();
  }

  private ways(): TemplateResult {
    return html`<h1>Sign in</h1>
      ${this.failure ? nothing : this.ended()}
      ${this.failure ? notice(this.failure) : nothing}
      ${this.passkeys
        ? html`<button class="button primary" type="button" ?disabled=${this.busy} @click=${this.byPasskey}>${this.busy ? html`<span class="spinner"></span>` : icon("key")}Sign in with a passkey</button>`
        : this.why ? html`<div class="notice">${icon("info")}<div>${prose(this.why)}</div></div>` : nothing}
      <section class="stack tight"><h2>${this.passkeys ? "No passkey yet?" : "By a link"}</h2>
        <p class="muted">A sign-in link works once, within 15 minutes. There are two ways to get one:</p>
        <ul class="ways"><li>If you are logged in on the command line, run <code>scrier login ${relayAddress()} <span class="one">--browser</span></code>.</li>
          <li>Or ask an administrator of this relay.</li></ul>
      </section>`;
  }

  // ended says why the sign-in before is over: the relay's code, and no words that a link could bring.
  private ended(): TemplateResult | typeof nothing {
    const p = Problem.of(new URLSearchParams(location.search).get("why") ?? "");
    return p.signIn ? html`<div class="notice warn" role="status">${icon("info")}<div><p><strong>${p.title}</strong></p><p>Sign in again to go on where you were.</p></div></div>` : nothing;
  }

  private readonly byPasskey = async (): Promise<void> => {
    if (await this.attempt(() => signInWithPasskey())) this.goOn();
  };
}

/** signedInAlready says so of this browser; any error means no. */
async function signedInAlready(): Promise<boolean> {
  try {
    await self();
    return true;
  } catch {
    return false;
  }
}

customElements.define("scrier-signin", SignInPage);
