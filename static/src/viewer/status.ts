import { el, icon } from "./dom";
import type { Lifeline, State } from "./lifeline";
import { ago, plain } from "./text";

/** Seen is what a status line tells of. */
export interface Seen {
  readonly link: Lifeline | undefined;
  readonly where: string;
  readonly headline: string; // what there is to say without a link
  readonly measure: string; // the screen's size
  readonly badges?: string[]; // what else counts
}

/** stateText is the state of a link in a few words. */
export function stateText(s: State, now: number): { text: string; mood: "ok" | "warn" | "bad" | "off" } {
  switch (s.name) {
    case "attached":
      return { text: "Connected", mood: "ok" };
    case "connecting":
      return { text: s.again ? "Reconnecting…" : "Connecting…", mood: "warn" };
    case "waiting": {
      const wait = Math.ceil((s.until - now) / 1000);
      return { text: wait > 0 ? `No connection; next try in ${wait} s` : "Reconnecting…", mood: "warn" };
    }
    case "elsewhere":
      return { text: "Continues elsewhere", mood: "warn" };
    case "stopped":
      return { text: "Not connected", mood: "bad" };
    case "ended":
    case "closed":
      return { text: "Ended", mood: "off" };
  }
}

// What the names of transports mean.
const carriers: Record<string, string> = {
  "WebTransport": "Carried by WebTransport (QUIC, over UDP)",
  "WebSocket": "Carried by a WebSocket (TCP), as WebTransport cannot be had here",
  "WebTransport + WebSocket": "Keys go over WebTransport (QUIC); output comes over a WebSocket (TCP) beside it, as packets are lost and QUIC carries less",
};

/** StatusLine shows how the session in front is connected. */
export class StatusLine {
  readonly element: HTMLElement;
  private readonly state = el("span", { class: "dot off" });
  private readonly spoken = el("span", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  private readonly where = el("span", { class: "where" });
  private readonly badges = el("span", { class: "badges" });
  private readonly transport = el("span", { class: "muted", title: "What carries the session" });
  private readonly rtt = el("span", { class: "muted num", title: "Round trip to the relay" });
  private readonly contact = el("span", { class: "muted num contact", title: "When the relay was last heard of" });
  private readonly size = el("span", { class: "muted num size" });

  constructor(measured: string) {
    this.size.title = measured;
    this.element = el("div", { class: "status" }, this.state, this.where, this.badges, this.transport, this.rtt, this.contact, this.size, this.spoken);
  }

  show(seen: Seen | undefined): void {
    const link = seen?.link;
    if (!seen || !link) {
      put(this.state, seen ? seen.headline : "No session");
      this.state.className = "dot off";
      put(this.where, seen?.where ?? "");
      for (const e of [this.transport, this.rtt, this.contact, this.size]) put(e, "");
      this.badges.replaceChildren();
      put(this.spoken, seen?.headline ?? "");
      return;
    }
    const { text, mood } = stateText(link.state, performance.now());
    put(this.state, text);
    this.state.className = `dot ${mood}`;
    // The countdown is for the eye only.
    put(this.spoken, link.state.name === "waiting" ? "No connection. Reconnecting." : text);
    put(this.where, seen.where);
    put(this.transport, link.transport ?? "");
    this.transport.title = carriers[link.transport ?? ""] ?? "What carries the session";
    put(this.rtt, link.rtt === undefined ? "" : `${link.rtt < 10 ? link.rtt.toFixed(1) : Math.round(link.rtt)} ms`);
    put(this.contact, link.silence === undefined || link.state.name === "ended" ? "" : `heard ${ago(link.silence)}`);
    put(this.size, seen.measure);
    const names = link.watchers.map((n) => plain(n, 32));
    const badges = [...(seen.badges ?? [])];
    if (link.info?.watching) badges.push("read-only");
    if (names.length > 0) badges.push(`${listed(names)} ${names.length === 1 ? "is" : "are"} watching`);
    if (badges.join() !== this.badges.dataset["shown"]) {
      this.badges.dataset["shown"] = badges.join();
      this.badges.replaceChildren(...badges.map((b) => el("span", { class: "chip warn", role: "status" }, icon("eye"), b)));
    }
  }
}

function listed(names: string[]): string {
  if (names.length > 3) return `${names.slice(0, 2).join(", ")} and ${names.length - 2} more`;
  return names.length < 2 ? (names[0] ?? "") : `${names.slice(0, -1).join(", ")} and ${names.at(-1)}`;
}

// put changes text only where it differs, so that screen readers are not told the same again.
function put(e: HTMLElement, text: string): void {
  if (e.textContent !== text) e.textContent = text;
}
