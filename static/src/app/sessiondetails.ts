import { html, nothing, type TemplateResult } from "lit";
import { endSession as end, Problem, type Session } from "../api";
import { ask } from "../ui/dialog";
import { bytes, clock } from "../ui/format";
import { icon } from "../ui/icon";
import { menu } from "../ui/menu";
import { prose } from "../ui/notice";
import { moment } from "../ui/moment";
import { Now } from "../ui/now";
import { toast } from "../ui/toast";
import { live } from "./live";
import { Drawer } from "./page";
import { hasEnded, holds, lasted, mayAttach, mayEnd, mayWatch, remaining, sessionDot, sessionWord, viewPath, why } from "./session";

/** endSession asks, and ends a session. */
export async function endSession(s: Session): Promise<void> {
  const done = await ask({
    title: `End the session on ${s.envoy_name}?`,
    text: `${s.own ? "Your" : "The"} ${holds(s) ? "connection" : s.kind === "ssh" ? "shell" : "desktop"}${s.own ? "" : ` of ${s.operator}`} ends at once${s.kind === "ssh" ? ", with everything that runs in it" : ""}.`,
    action: "End it", danger: true,
    run: () => end(s.id),
  });
  if (done) toast(`The session on ${s.envoy_name} is ended.`, "ok");
}

/** SessionDetails is the drawer with all that is known of one session. */
class SessionDetails extends Drawer {
  static override properties = { ...Drawer.properties, session: {} };
  declare session: string; // its id
  private readonly now = new Now(this);
  private last: Session | undefined;

  private buttons(s: Session): TemplateResult {
    return html`<div class="row">
      ${mayAttach(s) ? html`<a class="button primary" href=${viewPath(s)}>${icon("shell")}Attach</a>` : nothing}
      ${mayWatch(s) ? html`<a class="button" href=${viewPath(s, true)}>Watch</a>` : nothing}
      ${mayEnd(s) ? html`<button class="button" type="button" aria-haspopup="menu" aria-label=${`More on the session of ${s.operator} on ${s.envoy_name}`}
        @click=${(e: Event) => menu(e.currentTarget as Element, "Actions for this session", [{ word: "End…", danger: true, go: () => void endSession(s) }])}>${icon("more")}</button>` : nothing}
    </div>`;
  }

  private gone(): TemplateResult {
    return html`<dialog class="drawer" aria-labelledby="session-title" @close=${this.closed} @click=${this.beside}><div class="drawer-body">
      <div class="row top"><div><h2 id="session-title">There is no such session</h2></div>
        <button class="button quiet icon end" type="button" aria-label="Close" @click=${this.close}>${icon("close")}</button></div>
      <p class="muted">It is not among the last 1,000, or the address is mistyped. The audit log has all of them.</p></div></dialog>`;
  }

  override render() {
    const s = (this.last = live.sessions.get(this.session) ?? this.last);
    if (!s) return live.sessionsLoaded ? this.gone() : nothing;
    const fact = (what: string, value: unknown) => html`<dt>${what}</dt><dd>${value}</dd>`;
    const ended = hasEnded(s) && !["exit", "ok", ""].includes(s.reason);
    return html`<dialog class="drawer" aria-labelledby="session-title" @close=${this.closed} @click=${this.beside}>
      <div class="drawer-body">
        <div class="row top"><div><h2 id="session-title">${s.operator} on ${s.envoy_name}</h2><span class="dot ${sessionDot(s)}">${sessionWord(s)}</span></div>
          <button class="button quiet icon end" type="button" aria-label="Close" @click=${this.close}>${icon("close")}</button></div>
        ${mayAttach(s) || mayWatch(s) || mayEnd(s) ? this.buttons(s) : nothing}
        ${ended
          ? html`<div class="notice">${icon("info")}<div><p><strong>${why(s)}</strong></p>${s.detail ? html`<p>${s.detail}</p>` : nothing}<p>${prose(Problem.of(s.reason).hint)}</p></div></div>`
          : nothing}
        <dl class="facts">
          ${fact("Id", html`<code>${s.id}</code>`)} ${fact("Operator", s.operator)} ${fact("Login", s.login || "not decided")} ${fact("Machine", html`${s.envoy_name}<br /><code>${s.envoy_id}</code>`)}
          ${fact("Kind", s.kind)} ${fact("Asked for", moment(s.created))} ${s.opened ? fact("Opened", moment(s.opened)) : nothing} ${s.closed ? fact("Closed", moment(s.closed)) : nothing}
          ${fact("Duration", clock(lasted(s, this.now.value)))} ${fact("To the machine", bytes(s.sent))} ${fact("From the machine", bytes(s.received))}
          ${remaining(s, this.now.value) === undefined ? nothing : fact("Ends", `in ${clock(remaining(s, this.now.value) ?? 0)}, unless ${s.own ? "you return" : "its owner returns"}`)}
          ${s.watchers?.length ? fact("Watched by", s.watchers.join(", ")) : nothing} ${hasEnded(s) ? fact("Reason", html`${why(s)} ${s.reason ? html`<code>${s.reason}</code>` : nothing}`) : nothing}
        </dl>
        ${live.may("see the audit log") ? html`<a href=${`/audit?session=${s.id}`}>Audit records of this session</a>` : nothing}
      </div>
    </dialog>`;
  }
}

customElements.define("scrier-session", SessionDetails);
