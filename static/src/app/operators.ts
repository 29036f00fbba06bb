import { html, nothing, type TemplateResult } from "lit";
import { deleteUser, deleteUserPasskeys, makeUserLink, users, type User } from "../api";
import { ask } from "../ui/dialog";
import { date, when } from "../ui/format";
import { icon } from "../ui/icon";
import { loading, notice, told } from "../ui/notice";
import { signedOut } from "../ui/signedout";
import { toast } from "../ui/toast";
import { handOver, relayAddress, shellWord } from "./handover";
import { live } from "./live";
import { operatorForm } from "./operatorform";
import { Page, valueOf } from "./page";

/** Operators is the people who use the relay. */
class Operators extends Page {
  static override properties = { ...Page.properties, list: { state: true }, q: { state: true } };
  declare list: User[] | undefined;
  declare q: string;

  constructor() {
    super();
    this.q = "";
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.read();
  }

  private async read(): Promise<void> {
    this.list = (await this.attempt(() => users())) ?? this.list;
  }

  override render(): TemplateResult {
    const may = live.may("change operators");
    return html`<div class="page">
      <div class="title"><h1>Operators</h1>${may ? html`<button class="button primary end" type="button" @click=${this.create}>${icon("enrol")}New operator</button>` : nothing}</div>
      <p class="muted">People who use this relay. An operator's SSH keys decide which logins on the envoys are theirs.</p>
      ${this.failure ? notice(this.failure, () => void this.read()) : nothing}
      ${this.list ? this.table(this.list, may) : this.failure ? nothing : loading("Reading the operators…")}
    </div>`;
  }

  private table(list: User[], may: boolean): TemplateResult {
    if (!list.length)
      return html`<div class="panel empty"><h2>No operator yet</h2><p>Make one for each person: the audit log then says who did what.</p>
        ${may ? html`<button class="button primary" type="button" @click=${this.create}>Make the first operator</button>` : nothing}</div>`;
    const q = this.q.toLowerCase();
    const rows = list.filter((u) => [u.username, u.role, ...(u.keys ?? [])].join("\n").toLowerCase().includes(q));
    return html`<div class="tools" role="search"><div class="search">${icon("search")}
        <input class="input" type="search" data-search placeholder="Search" aria-label="Search by username, role or key" autocomplete="off" .value=${this.q} @input=${(e: Event) => (this.q = valueOf(e))}
          @keydown=${(e: KeyboardEvent) => e.key === "Escape" && (this.q = "")} /><kbd aria-hidden="true">/</kbd></div></div>
      ${rows.length
        ? html`<div class="panel scroll-x"><table class="cards">
            <thead><tr><th scope="col">Username</th><th scope="col">Role</th><th scope="col">SSH keys</th><th scope="col">Passkeys</th><th scope="col">Created</th>${may ? html`<th scope="col"><span class="visually-hidden">Actions</span></th>` : nothing}</tr></thead>
            <tbody>${rows.map((u) => this.line(u, may))}</tbody></table></div>`
        : html`<div class="panel empty"><h2>No operator fits</h2><button class="button" type="button" @click=${() => (this.q = "")}>Clear the search</button></div>`}`;
  }

  private line(u: User, may: boolean): TemplateResult {
    const me = u.username === live.me?.username;
    const key = (k: string) => {
      const [type, blob, ...comment] = k.split(/\s+/);
      return html`<div class="clip key" title=${k}>${u.unproved?.includes(k) ? html`<span class="chip warn" title="Its owner has not proved yet that it is theirs: it opens nothing">not proved</span> ` : nothing}<code>${type?.replace(/^ssh-/, "")}</code> ${comment.join(" ") || `…${blob?.slice(-10)}`}</div>`;
    };
    return html`<tr>
      <td data-label="Username"><strong>${u.username}</strong> ${me ? html`<span class="chip on">you</span>` : nothing}</td>
      <td data-label="Role">${u.role}</td>
      <td data-label="SSH keys">${u.keys?.length ? html`<div class="keys">${u.keys.map(key)}</div>` : html`<span class="muted">none</span>`}</td>
      <td data-label="Passkeys" class="num">${!u.passkeys ? html`<span class="muted">none</span>`
        : may ? html`<button class="button slim" type="button" aria-label=${`Remove the passkeys of ${u.username}`} @click=${() => this.dropPasskeys(u)}>${u.passkeys} · Remove</button>` : u.passkeys}</td>
      <td data-label="Created" class="num" title=${date(u.created)}>${when(u.created)}</td>
      ${may
        ? html`<td class="actions"><div class="row">
            <button class="button slim" type="button" aria-label=${`Sign-in link for ${u.username}`} @click=${() => this.link(u)}>${icon("link")}Link</button>
            <button class="button slim" type="button" aria-label=${`Change ${u.username}`} @click=${() => this.edit(u)}>Change</button>
            <button class="button slim danger" type="button" aria-label=${`Delete ${u.username}`} @click=${() => this.drop(u)}>Delete</button></div></td>`
        : nothing}
    </tr>`;
  }

  private readonly create = (): void => {
    operatorForm(undefined, (made) => {
      void this.read();
      if (!made) return;
      const login = `scrier login ${relayAddress()} --username ${shellWord(made.username)} --fingerprint ${made.relay_fingerprint}`;
      handOver({ heading: `${made.username} is an operator`, who: made.username, link: made.link, ...(made.keys?.length ? { login } : {}) }); // no key, no login at a terminal
    });
  };

  private edit(u: User): void {
    operatorForm(u, () => {
      toast(`${u.username} is changed.`, "ok");
      void this.read();
    });
  }

  private async link(u: User): Promise<void> {
    try {
      handOver({ heading: `A sign-in link for ${u.username}`, who: u.username, link: await makeUserLink(u.id) });
    } catch (err) {
      if (!signedOut(err)) toast(told(err), "bad");
    }
  }

  private async dropPasskeys(u: User): Promise<void> {
    const done = await ask({
      title: `Remove the passkeys of ${u.username}?`,
      text: "Nobody signs in with them any more, and their browsers are signed out. Give them a sign-in link, so that they can add a new one.",
      action: "Remove", danger: true,
      run: () => deleteUserPasskeys(u.id),
    });
    if (!done) return;
    toast(`The passkeys of ${u.username} are removed.`, "ok");
    void this.read();
  }

  private async drop(u: User): Promise<void> {
    const done = await ask({
      title: `Delete ${u.username}?`,
      text: "Their sessions and sign-ins end at once, and their keys and passkeys count no more. The audit log keeps what they did.",
      action: "Delete", danger: true, typed: u.username,
      run: () => deleteUser(u.id),
    });
    if (!done) return;
    toast(`${u.username} is deleted.`, "ok");
    void this.read();
  }
}

customElements.define("scrier-operators", Operators);
