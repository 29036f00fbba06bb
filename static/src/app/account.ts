import { html, nothing, type TemplateResult } from "lit";
import { challengeClaim, claimKey, confirmSelf, deletePasskey, endSignIn, makeLink, ownKeys, passkeys, signIns, signOutEverywhere, Problem, type OwnKey, type Passkey, type SignIn, type Verb } from "../api";
import { ask } from "../ui/dialog";
import { chooseDensity, density } from "../ui/density";
import { ago, exact, when } from "../ui/format";
import { icon } from "../ui/icon";
import { loading, notice, prose, told } from "../ui/notice";
import { Now } from "../ui/now";
import { chooseScheme, scheme, type Scheme } from "../ui/scheme";
import { signedOut } from "../ui/signedout";
import { toast } from "../ui/toast";
import { handOver } from "./handover";
import { keysOn, setKeys } from "./keys";
import { live } from "./live";
import { roleMeans } from "./operatorform";
import { Page, valueOf } from "./page";
import { addPasskey, deviceName, passkeysWork } from "./passkey";
import { getSignature } from "./signature";

const text = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
const latest = (a: string, b: string): number => Date.parse(b) - Date.parse(a);

// columns are those of the sign-ins, and how each sorts them; equal ones come as they were last seen.
const columns: readonly { name: string; title: string; order: (a: SignIn, b: SignIn) => number }[] = [
  { name: "agent", title: "Browser", order: (a, b) => text(browser(a.agent), browser(b.agent)) },
  { name: "source", title: "From", order: (a, b) => text(a.source, b.source) },
  { name: "method", title: "By", order: (a, b) => text(a.method, b.method) },
  { name: "created", title: "Since", order: (a, b) => latest(a.created, b.created) },
  { name: "seen", title: "Last seen", order: (a, b) => Number(b.current) - Number(a.current) || latest(a.seen, b.seen) },
  { name: "expires", title: "Ends", order: (a, b) => latest(b.expires, a.expires) },
];

const verbs: readonly Verb[] = [
  "see envoys", "see sessions", "open sessions", "watch sessions", "end sessions", "see the audit log", "see metrics",
  "see operators", "change operators", "make enrolment tokens", "change envoys",
];

/** Account is about the person themselves: what they may do, and how they sign in. */
class Account extends Page {
  static override properties = { ...Page.properties, keys: { state: true }, sshKeys: { state: true }, list: { state: true }, keyFailure: { state: true }, sort: { state: true }, down: { state: true } };
  declare keys: Passkey[] | undefined;
  declare sshKeys: OwnKey[] | undefined;
  declare list: SignIn[] | undefined;
  declare keyFailure: unknown;
  declare sort: string; // the column that sorts the sign-ins
  declare down: boolean;
  private readonly now = new Now(this);

  constructor() {
    super();
    this.sort = "seen";
    this.down = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    void this.read();
  }

  private async read(): Promise<void> {
    await this.attempt(async () => {
      const [keys, sshKeys, list] = await Promise.all([passkeys(), ownKeys(), signIns()]);
      this.keys = keys.sort((a, b) => text(a.name.toLowerCase(), b.name.toLowerCase()) || latest(a.created, b.created));
      // What is still to be done comes first, then by what the keys are called.
      this.sshKeys = sshKeys.sort((a, b) => Number(!!a.proved) - Number(!!b.proved) || text(keyName(a), keyName(b)));
      this.list = list;
    });
  }

  override render(): TemplateResult {
    return html`<div class="page narrow wide-ish">
      <div class="title"><h1>My account</h1></div>
      ${this.failure ? notice(this.failure, () => void this.read()) : nothing}
      ${this.doubt()} ${this.who()} ${this.ssh()} ${this.passkeys()} ${this.signIns()} ${this.look()} ${this.about()}
    </div>`;
  }

  private who(): TemplateResult {
    const me = live.me!;
    return html`<section class="panel pad stack"><h2>${me.username}</h2>
      <p>Your role is <strong>${me.role}</strong>: ${roleMeans[me.role].replace(/^./, (c) => c.toLowerCase())}</p>
      <div class="row">${verbs.map((v) => (live.may(v) ? html`<span class="chip ok">${icon("ok")}${v}</span>` : html`<span class="chip muted"><span class="visually-hidden">not allowed: </span>${icon("close")}${v}</span>`))}</div>
    </section>`;
  }

  /** doubt asks whoever came by somebody else's link to prove who they are. */
  private doubt(): TemplateResult | typeof nothing {
    const me = live.me!;
    if (!me.doubt || !this.keys || !this.sshKeys) return nothing;
    const first = !this.keys.length && !this.sshKeys.some((k) => k.proved);
    return html`<section class="notice warn">${icon("warn")}<div><p><strong>Prove that you are ${me.username}.</strong></p>
      <p>${me.doubt} made the link that you came by. Until you have proved that it is you, you can look, and change nothing and open nothing.</p>
      ${first ? html`<p>Add your SSH key or a passkey below: the first one is yours.</p>` : html`<p><button class="button" type="button" ?disabled=${this.busy} @click=${this.confirm}>${icon("key")}Prove it</button></p>`}</div></section>`;
  }

  private readonly confirm = async (): Promise<void> => {
    await this.attempt(async () => {
      await confirmSelf();
      await live.again();
      toast("It is you.", "ok");
    });
  };

  private ssh(): TemplateResult {
    const row = (k: OwnKey) => {
      return html`<li class="row">${icon("key")}<span><strong>${keyName(k)}</strong> <code class="small">${k.fingerprint}</code><br />
        <span class="muted small">${k.proved ? `Counts since ${when(k.proved)}` : "Somebody has registered it, and you have not proved yet that it is yours: it opens nothing"}</span></span>
        ${k.proved ? nothing : html`<span class="chip warn end">not proved</span>`}</li>`;
    };
    return html`<section class="panel pad stack"><div class="row"><h2>SSH keys</h2>
        <button class="button end" type="button" @click=${this.claim}>${icon("key")}Add or prove a key</button></div>
      <p class="muted">The machines let you in where one of these is in an account's authorized_keys.</p>
      ${this.sshKeys?.length ? html`<ul class="lines">${this.sshKeys.map(row)}</ul>` : this.sshKeys ? html`<p class="muted">None yet. You need one to open a shell.</p>` : nothing}
    </section>`;
  }

  private readonly claim = async (): Promise<void> => {
    try {
      const challenge = await challengeClaim();
      await getSignature({
        title: "Add or prove an SSH key", challenge, key: "~/.ssh/id_ed25519",
        why: "A signature by the key shows that you have it. A key that is not registered yet is added.",
        signed: async (armoured) => (await claimKey(challenge.id, armoured)).fingerprint,
      });
      await live.again();
      toast("The key counts from now on.", "ok");
      await this.read();
    } catch (err) {
      if (!signedOut(err) && !(err instanceof Problem && err.code === "proof_required" && err.status === 0)) toast(told(err), "bad");
    }
  };

  private passkeys(): TemplateResult {
    const r = live.relay;
    return html`<section class="panel pad stack"><h2>Passkeys</h2>
      <p class="muted">A passkey signs you in with this device's screen lock or a security key. There is no password that could be stolen.</p>
      ${r?.passkeys
        ? passkeysWork() ? this.add() : html`<div class="notice">${icon("info")}<div>This browser cannot make passkeys here. Use a current one, and open the relay over https with a certificate that it trusts.</div></div>`
        : html`<div class="notice">${icon("info")}<div><p><strong>Passkeys do not work on this relay yet.</strong></p>
            <p>${prose(r?.passkeys_why || "They belong to a name, and this relay has none: WebAuthn knows no IP addresses.")}</p><p>Until then you sign in by links: below, from an administrator, or with <code>scrier login HOST:PORT <span class="one">--browser</span></code>.</p></div></div>`}
      ${this.keyFailure ? notice(this.keyFailure) : nothing}
      ${this.keys?.length
        ? html`<ul class="lines">${this.keys.map((k) => html`<li class="row">${icon("key")}<span><strong>${k.name}</strong> <span class="muted small">${k.rp_id}</span><br />
            <span class="muted small">Added ${when(k.created)}, ${k.used ? `used ${ago(k.used, this.now.value)}` : "not used yet"}</span></span>
            <button class="button slim danger end" type="button" aria-label=${`Remove the passkey ${k.name}`} @click=${() => this.dropKey(k)}>Remove</button></li>`)}</ul>`
        : this.keys && r?.passkeys ? html`<p class="muted">None yet. Add one here, and sign in without a link next time.</p>` : nothing}
    </section>`;
  }

  private add(): TemplateResult {
    return html`<form class="row" @submit=${this.addKey}>
      <label class="visually-hidden" for="passkey-name">Name of the passkey</label>
      <input id="passkey-name" class="input grow" required maxlength="64" autocomplete="off" .value=${deviceName()} />
      <button class="button primary" ?disabled=${this.busy}>${icon("key")}Add a passkey</button></form>`;
  }

  private async addKey(e: SubmitEvent): Promise<void> {
    e.preventDefault();
    const name = this.querySelector<HTMLInputElement>("#passkey-name")?.value.trim() ?? "";
    this.keyFailure = undefined;
    try {
      await addPasskey(name);
      toast(`The passkey ${name} is added.`, "ok");
      await live.again();
      await this.read();
    } catch (err) {
      if (!signedOut(err)) this.keyFailure = err;
    }
  }

  private async dropKey(k: Passkey): Promise<void> {
    const run = () => deletePasskey(k.id);
    if (await ask({ title: `Remove the passkey ${k.name}?`, text: "Nobody can sign in with it any more. Delete it on your device as well.", action: "Remove", danger: true, run })) await this.read();
  }

  private signIns(): TemplateResult {
    const row = (s: SignIn) => html`<tr>
      <td data-label="Browser"><span class="clip agent" title=${s.agent}>${browser(s.agent)}</span> ${s.current ? html`<span class="chip on">this one</span>` : nothing}</td>
      <td data-label="From" class="num">${s.source}</td><td data-label="By">${s.method}</td><td data-label="Since" class="num" title=${exact(s.created)}>${when(s.created)}</td>
      <td data-label="Last seen" class="num">${s.current ? "now" : ago(s.seen, this.now.value)}</td><td data-label="Ends" class="num" title=${exact(s.expires)}>${when(s.expires)}</td>
      <td class="actions">${s.current ? nothing : html`<button class="button slim danger" type="button" aria-label=${`End the sign-in from ${s.source}`} @click=${() => this.endOne(s)}>End</button>`}</td></tr>`;
    return html`<section class="panel pad stack"><div class="row"><h2>Sign-ins</h2>
        <div class="row end"><button class="button" type="button" ?disabled=${!!live.me?.doubt} @click=${this.link}>${icon("link")}Link for another browser</button>
        <button class="button danger" type="button" @click=${this.everywhere}>Sign out everywhere</button></div></div>
      ${this.list
        ? html`<div class="scroll-x"><table class="cards"><thead><tr>${columns.map((c) => this.head(c.name, c.title))}
            <th scope="col"><span class="visually-hidden">Actions</span></th></tr></thead><tbody>${this.sorted(this.list).map(row)}</tbody></table></div>`
        : this.failure ? nothing : loading("Reading your sign-ins…")}
    </section>`;
  }

  private head(name: string, title: string): TemplateResult {
    const on = this.sort === name;
    const go = () => {
      this.down = on && !this.down;
      this.sort = name;
    };
    return html`<th scope="col" aria-sort=${on ? (this.down ? "descending" : "ascending") : "none"}><button class="sort" type="button" @click=${go}>${title}${on ? icon(this.down ? "down" : "up") : nothing}</button></th>`;
  }

  private sorted(list: readonly SignIn[]): SignIn[] {
    const by = columns.find((c) => c.name === this.sort)?.order ?? (() => 0);
    const sign = this.down ? -1 : 1;
    return [...list].sort((a, b) => sign * by(a, b) || latest(a.seen, b.seen));
  }

  private async endOne(s: SignIn): Promise<void> {
    try {
      await endSignIn(s.id);
      await this.read();
    } catch (err) {
      if (!signedOut(err)) toast(told(err), "bad");
    }
  }

  private readonly everywhere = async (): Promise<void> => {
    const text = "Every browser in which you are signed in has to sign in again, this one too. Keep a passkey or a way to get a link.";
    if (await ask({ title: "Sign out everywhere?", text, action: "Sign out everywhere", danger: true, run: () => live.leaving(() => signOutEverywhere()) })) location.assign("/signin");
  };

  private readonly link = async (): Promise<void> => {
    try {
      handOver({ heading: "A link for another browser", who: "you", link: await makeLink() });
    } catch (err) {
      if (!signedOut(err)) toast(told(err), "bad");
    }
  };

  private look(): TemplateResult {
    const now = scheme();
    const choice = (s: Scheme, word: string) => html`<label class="choice"><input type="radio" name="scheme" value=${s} .checked=${now === s} @change=${(e: Event) => chooseScheme(valueOf(e) as Scheme)} /><span>${word}</span></label>`;
    return html`<section class="panel pad stack"><h2>This browser</h2>
      <fieldset class="inline"><legend>Colours</legend>${choice("system", "As the system")}${choice("light", "Light")}${choice("dark", "Dark")}</fieldset>
      <fieldset class="inline"><legend>Rows of lists</legend>${(["comfortable", "compact"] as const).map((d) => html`<label class="choice"><input type="radio" name="density" value=${d} .checked=${density() === d} @change=${() => chooseDensity(d)} /><span>${d === "compact" ? "Compact" : "Comfortable"}</span></label>`)}</fieldset>
      <label class="choice"><input type="checkbox" .checked=${keysOn()} @change=${(e: Event) => setKeys((e.target as HTMLInputElement).checked)} />
        <span>Single keys do things: <kbd>/</kbd> searches, <kbd>g</kbd> <kbd>f</kbd> goes to the fleet, <kbd>?</kbd> lists them</span></label>
    </section>`;
  }

  private about(): TemplateResult | typeof nothing {
    const r = live.relay;
    if (!r) return nothing;
    return html`<section class="panel pad stack"><h2>This relay</h2>
      <dl class="facts"><dt>Version</dt><dd>${r.version}</dd><dt>Cluster</dt><dd><code>${r.cluster}</code></dd><dt>Fingerprint</dt><dd><code>${r.fingerprint}</code></dd>
        <dt>Detached</dt><dd>A session whose window is closed goes on for ${r.detach_grace} s.</dd></dl>
      <p class="muted small"><a href="/LICENCES.txt" target="_blank" rel="noopener">Licences of what these pages contain</a></p></section>`;
  }
}

/** keyName is what a key is called: its comment, or its type. */
function keyName(k: OwnKey): string {
  const [type, , ...comment] = k.key.split(/\s+/);
  return comment.join(" ") || (type ?? "");
}

/** browser is as much of a User-Agent as tells one sign-in from another. */
function browser(agent: string): string {
  const name = /(Firefox|Edg|OPR|Chrome|Safari)\/(\d+)/g;
  const found = [...agent.matchAll(name)].map((m) => `${m[1] === "Edg" ? "Edge" : m[1] === "OPR" ? "Opera" : m[1]} ${m[2]}`);
  const best = found.find((f) => /Edge|Opera|Firefox/.test(f)) ?? found[0];
  const system = /Android|iPhone|iPad|Mac OS X|Windows|Linux/.exec(agent)?.[0];
  return best ? [best, system].filter(Boolean).join(", ") : agent || "unknown";
}

customElements.define("scrier-account", Account);
