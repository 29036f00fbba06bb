import { html, nothing, type TemplateResult } from "lit";
import { Problem, challengeChange, type Challenge, type Change } from "../api";
import "../ui/copy";
import { Part } from "../ui/element";
import { icon } from "../ui/icon";
import { notice } from "../ui/notice";
import { signedOut } from "../ui/signedout";
import { shellWord } from "./handover";
import { passkeysWork, signWithPasskey } from "./passkey";

/** Wanted is a signature that a person is asked for. */
type Wanted = {
  title: string;
  why: string;
  challenge: Challenge;
  key: string; // the file in the command
  passkey?: () => Promise<string>;
  signed: (armoured: string) => Promise<string> | string; // what is given back; its failure is shown
};

/** Signature is the dialog that gets one. */
class Signature extends Part {
  static override properties = { busy: { state: true }, failure: { state: true }, text: { state: true } };
  declare busy: boolean;
  declare failure: unknown;
  declare text: string;
  wanted!: Wanted;
  settle: (signature: string | undefined) => void = () => {};

  constructor() {
    super();
    this.busy = false;
    this.text = "";
  }

  override render(): TemplateResult {
    const { title, why, challenge: c, key, passkey } = this.wanted;
    const command = `printf %s ${shellWord(c.text)} | ssh-keygen -Y sign -n ${shellWord(c.namespace)} -f ${key}`;
    return html`<dialog class="box" aria-labelledby="sign-title" aria-describedby="sign-why" @cancel=${(e: Event) => this.busy && e.preventDefault()} @close=${() => this.end(undefined)}>
      <form @submit=${this.submit}>
        <h2 id="sign-title">${title}</h2>
        <p id="sign-why">${why}</p>
        ${passkey
          ? html`<button class="button primary" type="button" ?disabled=${this.busy} @click=${() => this.go(passkey)}>${this.busy ? html`<span class="spinner"></span>` : icon("key")}Use a passkey</button>
              <h3>Or with your SSH key</h3>`
          : nothing}
        <p id="sign-keys">Run this where your SSH key is${c.keys.length ? html`. These count: ${c.keys.map((k, i) => html`${i ? ", " : ""}<code>${k}</code>`)}` : nothing}.</p>
        <sc-copy .text=${command} label="command"></sc-copy>
        <div class="field"><label for="sign-text">What it prints</label>
          <textarea id="sign-text" class="input" rows="4" required spellcheck="false" autocapitalize="off" placeholder="-----BEGIN SSH SIGNATURE-----" .value=${this.text}
            @input=${(e: Event) => (this.text = (e.target as HTMLTextAreaElement).value)}></textarea></div>
        ${this.failure ? notice(this.failure) : nothing}
        <div class="buttons">
          <button class="button" type="button" ?disabled=${this.busy} @click=${() => this.querySelector("dialog")?.close()}>Cancel</button>
          <button class="button ${passkey ? "" : "primary"}" ?disabled=${this.busy || !this.text.trim()}>Go on</button>
        </div>
      </form>
    </dialog>`;
  }

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
  }

  private submit(e: SubmitEvent): void {
    e.preventDefault();
    void this.go(async () => this.wanted.signed(this.text));
  }

  private async go(f: () => Promise<string>): Promise<void> {
    this.busy = true;
    this.failure = undefined;
    try {
      this.end(await f());
    } catch (err) {
      if (!signedOut(err)) this.failure = err;
    } finally {
      this.busy = false;
    }
  }

  private end(signature: string | undefined): void {
    this.settle(signature);
    this.remove();
  }
}

customElements.define("scrier-signature", Signature);

/** getSignature asks for one, and throws if the person does not want to give it. */
export function getSignature(wanted: Wanted): Promise<string> {
  return new Promise((resolve, reject) => {
    const back = document.activeElement;
    const el = document.createElement("scrier-signature") as Signature;
    el.wanted = wanted;
    el.settle = (signature) => {
      if (signature === undefined) reject(new Problem("proof_required", 0, "Nothing was changed, as it was not signed."));
      else resolve(signature);
      if (back instanceof HTMLElement && back.isConnected) back.focus();
    };
    document.body.append(el);
  });
}

/** signChange has a person sign a change, with a passkey or an SSH key; it gives the value of Scrier-Proof. */
export async function signChange(change: Change): Promise<string> {
  const challenge = await challengeChange(change);
  return getSignature({
    title: "Sign this change",
    why: "It changes who may do what. So it needs a signature by you, made now: being signed in is not enough.",
    challenge,
    key: "~/.ssh/id_ed25519",
    ...(challenge.passkeys && passkeysWork() ? { passkey: () => signWithPasskey(challenge.id) } : {}),
    signed: (armoured) => `ssh ${challenge.id} ${bare(armoured)}`,
  });
}

/** bare is the base64 of a signature as ssh-keygen prints it. */
export function bare(armoured: string): string {
  const body = armoured.replace(/-----(BEGIN|END) SSH SIGNATURE-----/g, "").replace(/\s+/g, "");
  if (!/^[A-Za-z0-9+/]+=*$/.test(body)) throw new Problem("bad_request", 0, "This is not a signature.", "", "Paste all that the command printed, from BEGIN to END.");
  return body;
}
