import { html, nothing, type TemplateResult } from "lit";
import type { Envoy } from "../api";
import { ago, date } from "../ui/format";
import { icon } from "../ui/icon";
import type { Column } from "../ui/vtable";
import { dots, labels, openPath, orders, reachable, stateWord } from "./envoy";
import { brief } from "./offers";

/** Hands is what the cells of the fleet can do. */
export type Hands = {
  now: number;
  kinds: readonly string[]; // of sessions that may be opened; none for roles that open none
  on: readonly string[]; // labels that are filtered by
  toggle: (label: string) => void;
  details: (e: Envoy) => void;
  sortable: boolean; // by its head
  shown: number; // labels in a row; the details have all
};

/** columns are the fleet's; what they do by mouse, Enter and the details do by key. */
export function columns(h: Hands): Column<Envoy>[] {
  const col = (name: string, cell: (e: Envoy) => unknown): Column<Envoy> => ({ name, title: orders[name]?.title ?? "", sortable: h.sortable, cell });
  return [
    col("state", (e) => html`<span class="dot ${dots[e.state]}">${stateWord(e.state)}</span>`),
    col("hostname", (e) => name(e, h)),
    col("os", (e) => html`<span class="clip" title=${e.facts.os}>${system(e.facts.os) || "unknown"}</span> <span class="muted small">${e.facts.arch}</span>`),
    col("version", (e) => html`<span class="clip num">${e.version}</span>`),
    col("users", (e) => html`<span class="num" title=${(e.facts.users ?? []).join(", ")}>${e.facts.users?.length || html`<span class="muted">0</span>`}</span>`),
    col("load", (e) => (reachable(e) ? html`<span class="num">${(e.facts.load / 100).toFixed(2)}</span>` : none())),
    col("disk", (e) => (reachable(e) ? html`<span class="num ${e.facts.disk >= 95 ? "bad-text" : e.facts.disk >= 85 ? "warn-text" : ""}">${e.facts.disk}%</span>` : none())),
    { name: "labels", title: "Labels", cell: (e) => chips(e, h) },
    col("warnings", warnings),
    col("seen", (e) => html`<span class="num" title=${date(e.last_seen)}>${ago(e.last_seen, h.now)}</span>`),
    { name: "actions", title: "Open", plain: true, cell: (e) => actions(e, h) },
  ];
}

/** system is the name that people use: "Debian 12" of "Debian GNU/Linux 12 (bookworm)". */
function system(os: string): string {
  return os.replace(/\s*\(.*\)/, "").replace(/ (GNU\/)?Linux\b/, "").replace(/ LTS$/, "");
}

function none(): TemplateResult {
  return html`<span class="muted" aria-label="unknown">–</span>`;
}

function name(e: Envoy, h: Hands): TemplateResult {
  if (h.kinds.includes("ssh") && reachable(e)) return html`<a class="clip name" tabindex="-1" href=${openPath(e)} title=${e.hostname}>${e.hostname}</a>`;
  return html`<button class="clip name" type="button" tabindex="-1" title=${e.hostname} @click=${() => h.details(e)}>${e.hostname}</button>`;
}

function chips(e: Envoy, h: Hands): TemplateResult {
  const all = labels(e);
  return html`${all.slice(0, h.shown).map((l) => html`<button class="chip" type="button" tabindex="-1" aria-pressed=${h.on.includes(l)} title=${`Filter by ${l}`} @click=${() => h.toggle(l)}><span>${l}</span></button>`)}
    ${all.length > h.shown ? html`<span class="muted small">+${all.length - h.shown}</span>` : nothing}`;
}

function warnings(e: Envoy): TemplateResult | typeof nothing {
  const [first, ...more] = e.warnings ?? [];
  if (!first) return nothing;
  return html`<span class="warning" title=${[first, ...more].join("\n")}>${icon("warn")}<span class="clip">${first}</span>${more.length ? html`<span class="small">+${more.length}</span>` : nothing}</span>`;
}

function actions(e: Envoy, h: Hands): TemplateResult {
  const list = brief(e, h.kinds);
  return html`${reachable(e)
      ? list.map((o) => html`<a class="button slim" tabindex="-1" href=${o.path} title=${o.title} aria-label=${`${o.word} on ${e.hostname}`}>${o.kind === "ssh" && list.length < 3 ? icon("shell") : nothing}${o.word}</a>`)
      : nothing}
    <button class="button quiet slim" type="button" tabindex="-1" aria-label=${`Details of ${e.hostname}`} @click=${() => h.details(e)}>${icon("more")}</button>`;
}
