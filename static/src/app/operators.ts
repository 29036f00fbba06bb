import { html, nothing, type TemplateResult } from "lit";
import { deleteUser, deleteUserPasskeys, makeUserLink, users, type User } from "../api";
import { ask } from "../ui/dialog";
import { rowHeight } from "../ui/density";
import { count, exact, when } from "../ui/format";
import { icon } from "../ui/icon";
import { menu } from "../ui/menu";
import { notice, skeleton, told } from "../ui/notice";
import { signedOut } from "../ui/signedout";
import { toast } from "../ui/toast";
import type { Column } from "../ui/vtable";
import "../ui/vtable";
import { actionsWidth, nameWidth } from "./chips";
import { composing } from "../ui/typing";
import { handOver, relayAddress, shellWord } from "./handover";
import { live } from "./live";
import { operatorForm } from "./operatorform";
import { narrow, Page, valueOf } from "./page";

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

// orders are the ways to sort operators; equal ones follow their names.
const orders: Record<string, (a: User, b: User) => number> = {
  username: () => 0,
  role: (a, b) => text(a.role, b.role),
  keys: (a, b) => (b.keys?.length ?? 0) - (a.keys?.length ?? 0),
  passkeys: (a, b) => b.passkeys - a.passkeys,
  created: (a, b) => Date.parse(b.created) - Date.parse(a.created),
};

const me = (u: User): boolean => u.username === live.me?.username;

// keyName is what a key is called: its comment, or the end of what it is.
function keyName(k: string): string {
  const [, blob, ...comment] = k.split(/\s+/);
  return comment.join(" ") || `…${blob?.slice(-10)}`;
}

function keyText(u: User): string {
  const [first, ...more] = u.keys ?? [];
  if (!first) return "none";
  return `${u.unproved?.length ? "not proved " : ""}${first.split(/\s+/)[0]?.replace(/^ssh-/, "")} ${keyName(first)}${more.length ? ` +${more.length}` : ""}${u.unproved?.length ? "mm" : ""}`;
}

function keys(u: User): TemplateResult {
  const [first, ...more] = u.keys ?? [];
  if (!first) return html`<span class="muted">none</span>`;
  const open = u.unproved?.length ?? 0;
  return html`${open ? html`<span class="chip warn" title="Its owner has not proved yet that it is theirs: it opens nothing">${open === u.keys?.length || open === 1 ? "not proved" : `${open} not proved`}</span>` : nothing}
    <span class="clip" title=${(u.keys ?? []).join("\n")}><code>${first.split(/\s+/)[0]?.replace(/^ssh-/, "")}</code> ${keyName(first)}</span>${more.length ? html`<span class="muted small">+${more.length}</span>` : nothing}`;
}

/** Operators is the people who use the relay. */
class Operators extends Page {
  static override properties = { ...Page.properties, list: { state: true }, q: { state: true }, sort: { state: true }, down: { state: true } };
  declare list: User[] | undefined;
  declare q: string;
  declare sort: string;
  declare down: boolean;

  constructor() {
    super();
    this.q = "";
    this.sort = "username";
    this.down = false;
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
    return html`<div class="page fill">
      <div class="title"><h1>Operators</h1>${may ? html`<button class="button primary end" type="button" @click=${this.create}>${icon("enrol")}New operator</button>` : nothing}</div>
      <p class="muted">People who use this relay. An operator's SSH keys decide which logins on the envoys are theirs.</p>
      ${this.failure ? notice(this.failure, () => void this.read()) : nothing}
      ${this.list ? this.table(this.list, may) : this.failure ? nothing : skeleton("Loading the operators…")}
    </div>`;
  }

  private table(list: User[], may: boolean): TemplateResult {
    if (!list.length)
      return html`<div class="panel empty"><h2>No operator yet</h2><p>Make one for each person: the audit log then says who did what.</p>
        ${may ? html`<button class="button primary" type="button" @click=${this.create}>Make the first operator</button>` : nothing}</div>`;
    const q = this.q.toLowerCase();
    const by = orders[this.sort] ?? (() => 0);
    const sign = this.down ? -1 : 1;
    const rows = list.filter((u) => [u.username, u.role, ...(u.keys ?? [])].join("\n").toLowerCase().includes(q)).sort((a, b) => sign * by(a, b) || sign * text(a.username, b.username));
    return html`<div class="tools" role="search"><div class="search">${icon("search")}
        <input class="input" type="search" data-search placeholder="Search" aria-label="Search by username, role or key" autocomplete="off" .value=${this.q} @input=${(e: Event) => (this.q = valueOf(e))}
          @keydown=${(e: KeyboardEvent) => e.key === "Escape" && !composing(e) && (this.q = "")} /><kbd aria-hidden="true">/</kbd></div></div>
      ${rows.length
        ? html`<sc-vtable class="panel operators" label="Operators" .rows=${rows} .columns=${this.columns(may)} .card=${narrow.matches ? (u: User) => this.card(u, may) : undefined} .key=${(u: User) => u.id}
            .rowHeight=${narrow.matches ? 104 : rowHeight()} sort=${this.sort} ?down=${this.down}
            @sort=${(e: CustomEvent<string>) => {
              this.down = this.sort === e.detail && !this.down;
              this.sort = e.detail;
            }}
            @open=${(e: CustomEvent<User>) => may && this.edit(e.detail)} @details=${(e: CustomEvent<User>) => may && this.edit(e.detail)}
            @menu=${(e: CustomEvent<{ row: User; at: Element }>) => may && this.menu(e.detail.row, e.detail.at)}
            @leave=${() => this.querySelector<HTMLElement>("[data-search]")?.focus()}></sc-vtable>`
        : html`<div class="panel empty"><h2>No operator matches</h2><button class="button" type="button" @click=${() => (this.q = "")}>Clear the search</button></div>`}`;
  }

  private columns(may: boolean): Column<User>[] {
    const all: Column<User>[] = [
      { name: "username", title: "Username", cell: (u) => html`<span class="clip strong" title=${u.username}>${u.username}</span>${me(u) ? html`<span class="chip on">you</span>` : nothing}`, wide: (u) => nameWidth(u.username, me(u) ? "you" : ""), least: 90, first: true },
      { name: "role", title: "Role", cell: (u) => u.role, text: (u) => u.role },
      { name: "keys", title: "SSH keys", cell: keys, text: keyText, extra: 8, least: 120, rank: 1, grows: true },
      { name: "passkeys", title: "Passkeys", cell: (u) => (u.passkeys ? html`<span class="num">${u.passkeys}</span>` : html`<span class="muted">none</span>`), text: (u) => (u.passkeys ? String(u.passkeys) : "none"), rank: 2 },
      { name: "created", title: "Created", cell: (u) => html`<span class="num" title=${exact(u.created)}>${when(u.created)}</span>`, text: (u) => when(u.created), extra: 4, rank: 3 },
    ];
    const shown = all.map((c) => ({ ...c, sortable: c.name in orders }));
    return may ? [...shown, { name: "actions", title: "Actions", plain: true, end: true, cell: (u) => this.actions(u), wide: () => actionsWidth("Link", 22) }] : shown;
  }

  private card(u: User, may: boolean): TemplateResult {
    return html`<div class="line top"><span class="clip strong">${u.username}</span>${me(u) ? html`<span class="chip on">you</span>` : nothing}<span class="muted small end">${u.role}</span></div>
      <div class="line small">${u.keys?.length ? keys(u) : html`<span class="muted">No SSH key</span>`}</div>
      <div class="line"><span class="muted small">${u.passkeys ? count(u.passkeys, "passkey") : "No passkey"}</span>${may ? html`<span class="end row">${this.actions(u)}</span>` : nothing}</div>`;
  }

  private actions(u: User): TemplateResult {
    return html`<button class="button slim" type="button" tabindex="-1" aria-label=${`Sign-in link for ${u.username}`} @click=${() => this.link(u)}>${icon("link")}Link</button>
      <button class="button quiet slim dots" type="button" tabindex="-1" aria-haspopup="menu" aria-label=${`More on ${u.username}`} @click=${(e: Event) => this.menu(u, e.currentTarget as Element)}>${icon("more")}</button>`;
  }

  private menu(u: User, at: Element): void {
    menu(at, `Actions for ${u.username}`, [
      { word: "Change…", icon: "operators", go: () => this.edit(u) },
      { word: "Sign-in link…", icon: "link", go: () => void this.link(u) },
      u.passkeys > 0 && { word: "Remove the passkeys…", danger: true, go: () => void this.dropPasskeys(u) },
      { word: "Delete…", danger: true, go: () => void this.drop(u) },
    ]);
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
