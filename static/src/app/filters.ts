import { html, nothing, type TemplateResult } from "lit";
import type { EnvoyState } from "../api";
import { icon } from "../ui/icon";
import { Part } from "../ui/element";
import { stateWord, orders } from "./envoy";
import { valueOf } from "./page";
import type { Selection, Wish } from "./selection";

const pickerWidth = 310; // pixels
const most = 100; // labels that are offered at a time; the search finds the others

export const states: readonly EnvoyState[] = ["quarantined", "online", "stale", "offline", "revoked"];

/** LabelPicker is the list of labels to filter by: boxes, so that every key and pointer can use it. */
export class LabelPicker extends Part {
  static override properties = { labels: { attribute: false }, on: { attribute: false }, counts: { attribute: false }, q: { state: true } };
  declare labels: readonly string[];
  declare on: readonly string[];
  declare counts: (label: string) => number;
  declare q: string;

  constructor() {
    super();
    this.labels = this.on = [];
    this.counts = () => 0;
    this.q = "";
  }

  override render(): TemplateResult {
    const q = this.q.trim().toLowerCase();
    const found = this.labels.filter((l) => this.on.includes(l) || l.toLowerCase().includes(q));
    const line = (l: string) => html`<label class="choice"><input type="checkbox" .checked=${this.on.includes(l)} @change=${() => this.dispatchEvent(new CustomEvent("toggle-label", { detail: l }))} />
      <span class="clip" title=${l}>${l}</span><span class="muted small num">${this.counts(l).toLocaleString()}</span></label>`;
    return html`<div class="stack tight" @keydown=${(e: KeyboardEvent) => this.step(e)}>${this.labels.length > 8 ? html`<input class="input" type="search" placeholder="Find a label" aria-label="Find a label" autocomplete="off" spellcheck="false" .value=${this.q} @input=${(e: Event) => (this.q = valueOf(e))} />` : nothing}
      <fieldset class="picks"><legend class="visually-hidden">Labels</legend>${found.slice(0, most).map(line)}
        ${found.length === 0 ? html`<p class="muted small">No such label</p>` : found.length > most ? html`<p class="muted small">and ${(found.length - most).toLocaleString()} more</p>` : nothing}</fieldset></div>`;
  }

  /** step moves from box to box, as in a list: Tab alone would take a key for each of a hundred. It chooses nothing. */
  private step(e: KeyboardEvent): void {
    const boxes = [...this.querySelectorAll<HTMLElement>(".choice input")];
    const at = boxes.indexOf(e.target as HTMLElement);
    const search = this.querySelector<HTMLElement>("input[type=search]");
    const inBoxes = at >= 0;
    let to: HTMLElement | null | undefined;
    if (e.key === "ArrowDown") to = boxes[at + 1];
    else if (e.key === "ArrowUp" && inBoxes) to = boxes[at - 1] ?? search;
    else if (e.key === "Home" && inBoxes) to = boxes[0];
    else if (e.key === "End" && inBoxes) to = boxes.at(-1);
    else return;
    e.preventDefault(); // what scrolls is the list, with the focus
    to?.focus();
  }
}

customElements.define("scrier-labelpicker", LabelPicker);

/** Choice is what the filters show and change. */
export type Choice = { wish: Wish; selection: Selection; set: (change: Partial<Wish>) => void; toggle: (label: string) => void };

function picker(c: Choice): TemplateResult {
  return html`<scrier-labelpicker .labels=${c.selection.labels} .on=${c.wish.labels} .counts=${c.selection.count} @toggle-label=${(e: CustomEvent<string>) => c.toggle(e.detail)}></scrier-labelpicker>`;
}

export function stateChips(c: Choice): TemplateResult {
  const n = c.selection.counts;
  const one = (s: EnvoyState | "", word: string, count: number) => html`<button class="chip" type="button" aria-pressed=${c.wish.state === s} @click=${() => c.set({ state: s })}>
    ${word} <span class="num">${count.toLocaleString()}</span></button>`;
  return html`<div class="row" role="group" aria-label="Status">
    ${one("", "All", n.all)}${states.filter((s) => n[s] || c.wish.state === s).map((s) => one(s, stateWord(s), n[s]))}</div>`;
}

/** labelFilter is the labels that are filtered by, and the list of all. */
export function labelFilter(c: Choice): TemplateResult | typeof nothing {
  const { labels } = c.wish;
  if (!c.selection.labels.length && !labels.length) return nothing;
  return html`<div class="row" role="group" aria-label="Labels">
    ${labels.map((l) => html`<button class="chip on" type="button" aria-label=${`Stop filtering by ${l}`} @click=${() => c.toggle(l)}><span>${l}</span>${icon("close")}</button>`)}
    <details class="dropdown" @toggle=${(e: Event) => {
      const d = e.currentTarget as HTMLDetailsElement;
      d.classList.toggle("flip", d.getBoundingClientRect().left + pickerWidth > innerWidth);
      if (d.open) d.querySelector<HTMLElement>("input")?.focus();
    }} @keydown=${(e: KeyboardEvent) => {
      if (e.key !== "Escape") return;
      const d = e.currentTarget as HTMLDetailsElement;
      d.open = false;
      d.querySelector("summary")?.focus();
      e.stopPropagation();
    }} @focusout=${(e: FocusEvent) => {
      const d = e.currentTarget as HTMLDetailsElement;
      if (e.relatedTarget && !d.contains(e.relatedTarget as Node)) d.open = false;
    }}><summary class="chip">Labels${icon("down")}</summary><div class="popmenu pick">${picker(c)}</div></details></div>`;
}

/** sheet is all filters at once, for windows that have no room for them above the list. */
export function sheet(c: Choice, close: () => void, found: number): TemplateResult {
  const w = c.wish;
  return html`<dialog class="sheet" aria-labelledby="sheet-title" @close=${close} @click=${(e: MouseEvent) => e.target === e.currentTarget && close()}><div class="body">
    <div class="row"><h2 id="sheet-title">Filters</h2><button class="button quiet icon end" type="button" aria-label="Close" @click=${close}>${icon("close")}</button></div>
    <section class="stack tight"><h3>Status</h3>${stateChips(c)}</section>
    <section class="stack tight"><h3><label for="sort">Sort by</label></h3>
      <div class="row nowrap"><select class="input" id="sort" @change=${(e: Event) => c.set({ sort: valueOf(e), down: false })}>
        ${Object.entries(orders).map(([name, o]) => html`<option value=${name} ?selected=${w.sort === name}>${o.title}</option>`)}</select>
        <button class="button" type="button" aria-pressed=${w.down} @click=${() => c.set({ down: !w.down })}>${w.down ? "Descending" : "Ascending"}</button></div></section>
    ${c.selection.labels.length ? html`<section class="stack tight"><h3>Labels</h3>${picker(c)}</section>` : nothing}
    <div class="buttons"><button class="button" type="button" @click=${() => c.set({ state: "", labels: [] })}>Clear</button>
      <button class="button primary" type="button" @click=${close}>Show ${found.toLocaleString()}</button></div>
  </div></dialog>`;
}
