import { html, nothing, type TemplateResult } from "lit";
import type { Envoy, Session } from "../api";
import { ago, exact } from "../ui/format";
import { icon } from "../ui/icon";
import type { Column } from "../ui/vtable";
import { actionsWidth, chips, chipsWidth, nameWidth, whole } from "./chips";
import { dots, labels, orders, reachable, stateWord, warnings } from "./envoy";
import { offers } from "./offers";
import { detailsPath } from "./route";
import { viewPath } from "./session";
import { system } from "./system";

/** Hands is what the cells of the fleet can do. */
export type Hands = {
  now: number;
  kinds: readonly string[]; // of sessions that may be opened; none for roles that open none
  on: readonly string[]; // labels that are filtered by
  common: ReadonlySet<string>; // labels that all have: they tell nothing apart
  weight: (label: string) => number; // how many machines have one of its key
  running: ReadonlyMap<string, Session[]>; // one's own open sessions, by envoy
  toggle: (label: string) => void;
  menu: (e: Envoy, at: Element) => void;
};

const longAgo = "59 min ago"; // about the widest that stands there

// release is the agent's version without its commit, which tells nothing in a list.
function release(e: Envoy): string {
  return e.version.split(" ", 1)[0] ?? "";
}

/** columns are the fleet's. */
export function columns(h: Hands): Column<Envoy>[] {
  const col = (name: string, c: Omit<Column<Envoy>, "name" | "title">): Column<Envoy> => ({ name, title: orders[name]?.title ?? "", sortable: name in orders, ...c });
  return [
    col("state", { cell: state, text: (e) => stateWord(e.state), extra: 15 }),
    col("hostname", { cell: (e) => name(e, h), text: (e) => e.hostname, extra: 2, wide: (e) => (h.running.has(e.id) ? nameWidth(e.hostname) + 40 : 0), strong: true, least: 400, first: true }),
    col("warnings", { cell: warned, text: warnedText, extra: 34, least: 140, rank: 2, bare: true }),
    { name: "labels", title: "Labels", cell: (e, w) => chips(apart(e, h), w, h.on, h.toggle), wide: (e) => chipsWidth(apart(e, h)), least: 210, rank: 3, bare: true, grows: true },
    col("os", { cell: (e) => html`<span class="clip" title=${e.facts.os}>${system(e.facts.os) || "unknown"}</span> ${usual(e) ? nothing : html`<span class="muted small">${e.facts.arch}</span>`}`,
      text: (e) => `${system(e.facts.os) || "unknown"}${usual(e) ? "" : ` ${e.facts.arch}`}`, extra: 14, least: 150, rank: 4 }),
    col("load", { cell: (e) => (reachable(e) ? html`<span class="num">${(e.facts.load / 100).toFixed(2)}</span>` : none()), text: (e) => (e.facts.load / 100).toFixed(2), rank: 7, end: true }),
    col("disk", { cell: (e) => (reachable(e) ? html`<span class="num ${e.facts.disk >= 95 ? "bad-text" : e.facts.disk >= 85 ? "warn-text" : ""}">${e.facts.disk} %</span>` : none()), text: () => "100 %", rank: 6, end: true }),
    col("users", { cell: (e) => html`<span class="num" title=${(e.facts.users ?? []).join(", ")}>${e.facts.users?.length || html`<span class="muted">0</span>`}</span>`, text: () => "00", rank: 8, end: true }),
    col("version", { cell: (e) => html`<span class="clip num" title=${e.version}>${release(e)}</span>`, text: release, least: 56, rank: 9 }),
    col("seen", { cell: (e) => html`<span class="num" title=${exact(e.last_seen)}>${ago(e.last_seen, h.now)}</span>`, text: (e) => {
      const t = ago(e.last_seen, h.now);
      return t.length > longAgo.length ? t : longAgo;
    }, rank: 5 }),
    { name: "actions", title: "Open", plain: true, end: true, cell: (e) => actions(e, h), wide: (e) => actionsWidth(reachable(e) ? (offers(e, h.kinds)[0]?.word ?? "") : "") },
  ];
}

/** apart are an envoy's labels that not all have. */
export function apart(e: Envoy, h: Hands): string[] {
  return labels(e).filter((l) => !h.common.has(l) || h.on.includes(l)).sort((a, b) => h.weight(b) - h.weight(a) || (a < b ? -1 : 1));
}

function state(e: Envoy): TemplateResult {
  return html`<span class="dot ${dots[e.state]}">${stateWord(e.state)}</span>`;
}

// usual is the architecture that need not be said.
function usual(e: Envoy): boolean {
  return !e.facts.arch || e.facts.arch === "amd64";
}

function none(): TemplateResult {
  return html`<span class="muted" aria-label="unknown">–</span>`;
}

function name(e: Envoy, h: Hands): TemplateResult {
  return html`<a class="clip name" tabindex="-1" href=${detailsPath(e.id)} title=${e.hostname} aria-label=${`Details of ${e.hostname}`}>${e.hostname}</a>${back(e, h)}`;
}

/** back leads to what runs on the envoy already. */
function back(e: Envoy, h: Hands): TemplateResult | typeof nothing {
  const mine = h.running.get(e.id);
  if (!mine?.[0]) return nothing;
  const word = mine.length === 1 ? "Your session goes on here: return to it" : `${mine.length} of your sessions go on here: return to the newest`;
  return html`<a class="chip on" tabindex="-1" href=${viewPath(mine[0])} title=${word} aria-label=${`Return to your session on ${e.hostname}`}>${icon("shell")}${mine.length > 1 ? mine.length : nothing}</a>`;
}

function warnedText(e: Envoy): string {
  const all = warnings(e);
  return all.length > 1 ? `${all[0]!.word} +${all.length - 1}` : (all[0]?.word ?? "");
}

function warned(e: Envoy): TemplateResult | typeof nothing {
  const all = warnings(e);
  if (!all[0]) return nothing;
  return html`<span class="warning" title=${all.map((w) => w.text).join("\n")}>${icon("warn")}<span class="clip">${all[0].word}</span>${all.length > 1 ? html`<span class="small">+${all.length - 1}</span>` : nothing}</span>`;
}

function actions(e: Envoy, h: Hands): TemplateResult {
  const o = reachable(e) ? offers(e, h.kinds)[0] : undefined;
  return html`${o ? html`<a class="button slim" tabindex="-1" href=${o.path} title=${o.title} aria-label=${`${o.word} on ${e.hostname}`}>${o.word}</a>` : nothing}
    <button class="button quiet slim dots" type="button" tabindex="-1" aria-haspopup="menu" aria-label=${`More on ${e.hostname}`} @click=${(ev: Event) => h.menu(e, ev.currentTarget as Element)}>${icon("more")}</button>`;
}

const cardSide = 24; // pixels beside the labels of a card

/** card is a row in a narrow window: the name on a line of its own, two labels, one button. */
export function card(h: Hands): (e: Envoy) => TemplateResult {
  return (e) => {
    const all = apart(e, h);
    const room = innerWidth - 2 * cardSide - 30;
    const two = whole(all, 2, room);
    const rest = all.length - two.length;
    const w = warnings(e)[0];
    return html`<div class="line top"><span class="dot ${dots[e.state]}"><span class="visually-hidden">${stateWord(e.state)}</span></span>${name(e, h)}</div>
      <div class="line">${chips(two, room, h.on, h.toggle)}${rest > 0 ? html`<span class="muted small">+${rest}</span>` : nothing}${two.length ? nothing : html`<span class="muted small">${system(e.facts.os) || stateWord(e.state)}</span>`}</div>
      <div class="line"><span class="muted small num clip" title=${exact(e.last_seen)}>${e.state === "online" ? system(e.facts.os) || "Online" : `${stateWord(e.state)}, ${ago(e.last_seen, h.now)}`}</span>
        ${w ? html`<span class="warning small" title=${w.text}>${icon("warn")}${w.word}</span>` : nothing}<span class="end row">${actions(e, h)}</span></div>`;
  };
}
