import { html, nothing, type TemplateResult } from "lit";
import { releaseEnvoy, removeEnvoy, renameEnvoy, revokeEnvoy, type Certificate, type Envoy, type Session } from "../api";
import { ask } from "../ui/dialog";
import { notice } from "../ui/notice";
import { ago, date, span } from "../ui/format";
import { icon } from "../ui/icon";
import { menu } from "../ui/menu";
import { moment } from "../ui/moment";
import { Now } from "../ui/now";
import { toast } from "../ui/toast";
import { dots, labels, openPath, plainName, reachable, stateWord, warnings } from "./envoy";
import { live } from "./live";
import { offers } from "./offers";
import { Drawer } from "./page";
import { hasEnded, sessionDot, sessionWord, viewPath } from "./session";

const recent = 8; // sessions that are shown; the page Sessions has the rest

/** EnvoyDetails is the drawer with all that is known of one envoy, and what can be done to it. */
class EnvoyDetails extends Drawer {
  static override properties = { ...Drawer.properties, envoy: {} };
  declare envoy: string; // its id
  private readonly now = new Now(this);
  private last: Envoy | undefined; // it may be removed while it is looked at

  override connectedCallback(): void {
    super.connectedCallback();
    if (live.may("see sessions")) live.wantSessions();
  }

  override render() {
    const now = live.envoys.get(this.envoy);
    const e = (this.last = now ?? this.last);
    if (!e) return live.loaded ? this.gone() : nothing;
    const said = warnings(e).filter((w) => !e.quarantine || !w.text.toLowerCase().startsWith(e.quarantine.why.toLowerCase())); // the quarantine is told in full
    return html`<dialog class="drawer" aria-labelledby="envoy-title" @close=${this.closed} @click=${this.beside}>
      <div class="drawer-body">
        <div class="row top"><div><h2 id="envoy-title">${e.hostname}</h2><span class="dot ${dots[e.state]}">${now ? stateWord(e.state) : "Removed"}</span></div>
          ${live.may("change envoys") && now ? html`<button class="button quiet icon end" type="button" aria-haspopup="menu" aria-label=${`More on ${e.hostname}`} @click=${(ev: Event) => this.more(e, ev.currentTarget as Element)}>${icon("more")}</button>` : nothing}
          <button class="button quiet icon end" type="button" autofocus aria-label="Close" @click=${this.close}>${icon("close")}</button>
        </div>
        ${this.quarantine(e, !!now)} ${this.opening(e)}
        ${said.length ? html`<div class="notice warn">${icon("warn")}<div>${said.map((w) => html`<p>${w.text}</p>`)}</div></div>` : nothing}
        ${this.facts(e)} ${this.labelled(e)} ${this.hostKeys(e)} ${live.may("see sessions") ? this.sessions(e) : nothing}
        ${live.may("change envoys") && now ? this.naming(e) : nothing}
      </div>
    </dialog>`;
  }

  private gone(): TemplateResult {
    return html`<dialog class="drawer" aria-labelledby="envoy-title" @close=${this.closed} @click=${this.beside}><div class="drawer-body">
      <div class="row top"><div><h2 id="envoy-title">There is no such machine</h2></div>
        <button class="button quiet icon end" type="button" autofocus aria-label="Close" @click=${this.close}>${icon("close")}</button></div>
      <p class="muted">It was removed, or the address is mistyped.</p></div></dialog>`;
  }

  // quarantine tells what two machines did with the envoy's identity, and lets an administrator decide.
  private quarantine(e: Envoy, there: boolean): TemplateResult | typeof nothing {
    const q = e.quarantine;
    if (!q) return nothing;
    return html`<div class="notice bad" role="alert">${icon("warn")}<div>
        <p><strong>Two machines have used its identity: one is a copy.</strong></p>
        <p>It serves nobody until an administrator decides. Since ${date(q.since)}: ${q.why}.</p>
        <ul><li>Newest certificate: ${party(q.counts)}</li><li>Used beside it: ${party(q.other)}</li></ul>
        ${live.may("change envoys") && there ? html`<div class="row"><button class="button" type="button" @click=${() => this.release(e)}>Release…</button></div>` : nothing}
      </div></div>`;
  }

  private async release(e: Envoy): Promise<void> {
    const q = e.quarantine;
    if (!q) return;
    const done = await ask({
      title: `Release ${e.hostname}?`,
      text: `${q.why[0]?.toUpperCase()}${q.why.slice(1)}: the newest certificate is ${party(q.counts)}, and beside it was used ${party(q.other)}. After a release the newest counts, and every other machine has to be enrolled by itself. If the newest is not with the right machine, or if you do not know, revoke the envoy instead.`,
      action: "Release", danger: true, typed: e.hostname,
      run: async () => {
        await releaseEnvoy(e.id, q.since);
        const { quarantine, ...rest } = e;
        live.envoy({ ...rest, state: "offline", warnings: [] });
      },
    });
    if (done) toast(`${e.hostname} is released; its agent connects within a minute.`, "ok");
  }

  private opening(e: Envoy): TemplateResult | typeof nothing {
    if (!live.may("open sessions")) return nothing;
    if (e.state === "quarantined") return nothing;
    if (e.state === "revoked") return html`<p class="muted">Its identity was revoked. To use the machine again, enrol it anew.</p>`;
    if (!reachable(e)) return html`<p class="muted">It is not connected. On the machine: is the agent running (<code>systemctl status scrier-agent</code>), and can it reach this relay?</p>`;
    const kinds = live.relay?.kinds ?? [];
    return html`<div class="row">${offers(e, kinds).map((o) => html`<a class="button ${o.kind === "ssh" ? "primary" : ""}" href=${o.path}>${o.kind === "ssh" ? icon("shell") : o.kind === "files" ? icon("files") : nothing}${o.title}</a>`)}</div>
      ${this.other(e, kinds.filter((k) => k !== "ssh"))}`;
  }

  // other is for what the machine does not tell of: another port, or a server that starts on demand.
  private other(e: Envoy, kinds: string[]): TemplateResult | typeof nothing {
    if (kinds.length === 0) return nothing;
    const go = (ev: SubmitEvent) => {
      ev.preventDefault();
      const f = new FormData(ev.target as HTMLFormElement);
      const port = String(f.get("port") ?? "");
      location.assign(openPath(e, String(f.get("protocol"))) + (port === "" ? "" : `&port=${encodeURIComponent(port)}`));
    };
    return html`<details><summary>Other desktop…</summary>
      <form class="row" @submit=${go}>
        <select class="input slim" name="protocol" aria-label="Protocol">${kinds.map((k) => html`<option value=${k}>${k.toUpperCase()}</option>`)}</select>
        <input class="input port" name="port" type="number" min="1" max="65535" placeholder="Port" aria-label="Port; empty for the usual one" />
        <button class="button">Open</button>
      </form></details>`;
  }

  private facts(e: Envoy): TemplateResult {
    const f = e.facts;
    const fact = (what: string, value: unknown) => html`<dt>${what}</dt><dd>${value}</dd>`;
    return html`<dl class="facts">
      ${fact("Id", html`<code>${e.id}</code>`)} ${fact("System", `${f.os || "unknown"} ${f.arch}`)}
      ${f.hostname && f.hostname !== e.hostname ? fact("Calls itself", f.hostname) : nothing}
      ${fact("Last seen", html`${ago(e.last_seen, this.now.value)} (${moment(e.last_seen)})`)}
      ${reachable(e)
        ? html`${fact("Up for", span(f.uptime * 1000))} ${fact("Load", (f.load / 100).toFixed(2))} ${fact("Disk", `${f.disk}% of the root file system used`)}
            ${fact("Users", f.users?.length ? f.users.join(", ") : "nobody is logged in")}
            ${fact("SSH server", f.ssh ? f.ssh_server || "answers" : html`<span class="bad-text">does not answer</span>`)}
            ${fact("Clock", Math.abs(f.clock_offset_ms) < 2000 ? "right" : `${span(Math.abs(f.clock_offset_ms))} ${f.clock_offset_ms > 0 ? "behind" : "ahead"}`)}`
        : nothing}
      ${e.transport ? fact("Connected by", `${e.transport === "tcp" ? "TCP" : "QUIC"}${e.transport_reason ? `: ${e.transport_reason}` : ""}`) : nothing}
      ${fact("Agent", e.version || "unknown")} ${fact("Enrolled", moment(e.enrolled))} ${e.revoked ? fact("Revoked", moment(e.revoked)) : nothing}
    </dl>`;
  }

  private labelled(e: Envoy): TemplateResult {
    const all = labels(e);
    return html`<section class="stack tight"><h3>Labels</h3>
      ${all.length
        ? html`<div class="row">${all.map((l) => html`<a class="chip whole" href=${labelPath(l)} title=${`Filter by ${l}`}><span>${l}</span></a>`)}</div>`
        : html`<p class="muted">None. They are given at enrolment: <code>scrier agent enroll --label env=prod</code>.</p>`}
    </section>`;
  }

  private hostKeys(e: Envoy): TemplateResult {
    return html`<section class="stack tight"><h3>Host keys</h3>
      ${e.host_keys?.length ? html`<ul class="keys-list">${e.host_keys.map((k) => html`<li><code>${k}</code></li>`)}</ul>` : html`<p class="muted">None yet: the agent reports them with each session.</p>`}
    </section>`;
  }

  private sessions(e: Envoy): TemplateResult {
    const here = [...live.sessions.values()].filter((s) => s.envoy_id === e.id).sort((a, b) => Date.parse(b.created) - Date.parse(a.created));
    const line = (s: Session) => html`<li class="row"><span class="dot ${sessionDot(s)}">${sessionWord(s)}</span>
      <span>${s.operator}${s.login ? ` as ${s.login}` : ""}</span><span class="muted small">${ago(s.created, this.now.value)}</span>
      ${s.own && !hasEnded(s) && live.may("open sessions") ? html`<a class="button slim end" href=${viewPath(s)}>Attach</a>` : nothing}</li>`;
    return html`<section class="stack tight"><h3>Sessions</h3>
      ${here.length ? html`<ul class="lines">${here.slice(0, recent).map(line)}</ul>` : html`<p class="muted">${live.sessionsLoaded ? "None yet." : "Reading…"}</p>`}
      ${here.length ? html`<a href=${`/sessions?q=${encodeURIComponent(e.hostname)}`}>All sessions here</a>` : nothing}
    </section>`;
  }

  private naming(e: Envoy): TemplateResult | typeof nothing {
    if (e.state === "revoked") return nothing;
    const rename = (ev: SubmitEvent) => {
      ev.preventDefault();
      const name = this.querySelector<HTMLInputElement>("#envoy-name")?.value.trim() ?? "";
      if (name) void this.rename(e, { name });
    };
    return html`<section class="stack tight"><h3>Name</h3>
      <p class="muted">${e.follows ? "It follows the hostname that the machine reports." : "It was given, and stays when the machine is called otherwise."}</p>
      <form class="row" @submit=${rename}>
        <input id="envoy-name" class="input slim" required maxlength="64" pattern=${plainName} title="Letters, digits, dots, dashes and underscores" autocomplete="off" autocapitalize="off" spellcheck="false" aria-label="New name" .value=${e.hostname} />
        <button class="button" ?disabled=${this.busy}>Rename</button>
        ${e.follows ? nothing : html`<button class="button" type="button" ?disabled=${this.busy} @click=${() => this.rename(e, { follow: true })}>Follow the hostname</button>`}
      </form>
      ${this.failure ? notice(this.failure) : nothing}</section>`;
  }

  private async rename(e: Envoy, to: { name: string } | { follow: true }): Promise<void> {
    const now = await this.attempt(() => renameEnvoy(e.id, to));
    if (!now) return;
    live.envoy(now);
    toast(now.follows ? `${now.hostname} follows its hostname.` : `It is called ${now.hostname}.`, "ok");
  }

  private more(e: Envoy, at: Element): void {
    menu(at, `Actions for ${e.hostname}`, [
      e.state !== "revoked" && { word: "Revoke…", danger: true, go: () => void revoke(e) },
      { word: "Remove…", danger: true, go: async () => void ((await dropEnvoy(e)) && this.close()) },
    ]);
  }
}

/** revoke asks, and revokes an envoy. */
export async function revoke(e: Envoy): Promise<void> {
  const done = await ask({
    title: `Revoke ${e.hostname}?`,
    text: "Its connection and its sessions end at once, and its identity never counts again. It stays in the list. To use the machine again, it has to be enrolled anew.",
    action: "Revoke", danger: true, typed: e.hostname,
    run: async () => {
      await revokeEnvoy(e.id);
      live.envoy({ ...e, state: "revoked", revoked: new Date().toISOString() });
    },
  });
  if (done) toast(`${e.hostname} is revoked.`, "ok");
}

/** dropEnvoy asks, and removes an envoy; it says whether it did. */
export async function dropEnvoy(e: Envoy): Promise<boolean> {
  const done = await ask({
    title: `Remove ${e.hostname}?`,
    text: "Its connection and its sessions end at once, its identity never counts again, and it leaves the list. The audit log keeps what was done on it.",
    action: "Remove", danger: true, typed: e.hostname,
    run: async () => {
      await removeEnvoy(e.id);
      live.envoyGone(e.id);
    },
  });
  if (done) toast(`${e.hostname} is removed.`, "ok");
  return done;
}

/** labelPath is the fleet, filtered by a label as well. */
function labelPath(l: string): string {
  const q = new URLSearchParams(location.pathname === "/" ? location.search : "");
  q.delete("details");
  q.set("label", [...new Set([...(q.get("label") ?? "").split(",").filter(Boolean), l])].join(","));
  return `/?${q}`;
}

/** party is one of the two in words. */
function party(c: Certificate): string {
  return `generation ${c.generation} from ${c.source || "an unknown address"}${c.time ? ` (${date(c.time)})` : ""}`;
}

customElements.define("scrier-envoy", EnvoyDetails);
