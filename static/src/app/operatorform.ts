import { html, nothing, type TemplateResult } from "lit";
import { createUser, updateUser, type CreatedUser, type Role, type User } from "../api";
import { notice } from "../ui/notice";
import type { KeysField } from "./keysfield";
import "./keysfield";
import { Page, valueOf } from "./page";

/** roleMeans is what each role allows, in one line; docs/operators.md has the table. */
export const roleMeans: Record<Role, string> = {
  admin: "May do everything.",
  operator: "Opens sessions and ends their own. Administers nothing.",
  viewer: "Sees envoys and sessions.",
  compliance: "Sees sessions and the audit log.",
};

/** OperatorForm makes an operator, or changes one. */
class OperatorForm extends Page {
  static override properties = { ...Page.properties, user: { attribute: false }, role: { state: true } };
  declare user: User | undefined;
  declare role: Role;
  done: (created: CreatedUser | undefined) => void = () => {};

  constructor() {
    super();
    this.role = "viewer";
  }

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
  }

  override render(): TemplateResult {
    const u = this.user;
    return html`<dialog class="box" aria-labelledby="form-title" @close=${() => this.remove()}>
      <form @submit=${this.submit}>
        <h2 id="form-title">${u ? `Change ${u.username}` : "New operator"}</h2>
        ${u
          ? nothing
          : html`<div class="field"><label for="username">Username</label>
              <input id="username" class="input" required autocomplete="off" autocapitalize="off" spellcheck="false" aria-describedby="username-help" />
              <span class="help" id="username-help">How the audit log names this person.</span></div>`}
        <fieldset class="roles"><legend>Role</legend>
          ${(Object.keys(roleMeans) as Role[]).map((r) => html`<label class="choice"><input type="radio" name="role" value=${r} .checked=${this.role === r} @change=${(e: Event) => (this.role = valueOf(e) as Role)} />
            <span><strong>${r}</strong><span class="muted small">${roleMeans[r]}</span></span></label>`)}
        </fieldset>
        <scrier-keysfield .value=${u?.keys?.join("\n") ?? ""}></scrier-keysfield>
        ${u ? html`<p class="muted small">A change of role or keys ends this operator's sessions, and they have to sign in again.</p>` : nothing}
        ${this.failure ? notice(this.failure) : nothing}
        <div class="buttons">
          <button class="button" type="button" @click=${() => this.querySelector("dialog")?.close()}>Cancel</button>
          <button class="button primary" ?disabled=${this.busy}>${this.busy ? html`<span class="spinner"></span>` : nothing}${u ? "Save" : "Create"}</button>
        </div>
      </form>
    </dialog>`;
  }

  private async submit(e: SubmitEvent): Promise<void> {
    e.preventDefault();
    const u = this.user;
    const keys = this.querySelector<KeysField>("scrier-keysfield")?.keys ?? [];
    const username = this.querySelector<HTMLInputElement>("#username")?.value.trim() ?? "";
    const role = this.role;
    const change = {
      ...(role === u?.role ? {} : { role }),
      ...(keys.join("\n") === (u?.keys ?? []).join("\n") ? {} : { keys }),
    };
    const created = await this.attempt(async () => {
      if (!u) return createUser({ username, role, keys });
      if (Object.keys(change).length) await updateUser(u.id, change);
      return undefined;
    });
    if (this.failure) return;
    this.querySelector("dialog")?.close();
    this.done(created);
  }
}

customElements.define("scrier-operatorform", OperatorForm);

/** operatorForm makes an operator, or changes user; the answer is what was created. */
export function operatorForm(user: User | undefined, done: (created: CreatedUser | undefined) => void): void {
  const el = document.createElement("scrier-operatorform") as OperatorForm;
  el.user = user;
  if (user) el.role = user.role;
  el.done = done;
  document.body.append(el);
}
