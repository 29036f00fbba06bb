import { html, nothing, type TemplateResult } from "lit";
import { textWidth } from "../ui/measure";

const frame = 16; // pixels of a chip beside its text
const gap = 6; // pixels between chips
const fewest = 6; // letters of a label that is cut

const chip = (label: string): number => Math.ceil(textWidth(label, "s")) + frame + 1;
const more = (n: number): number => (n > 0 ? gap + Math.ceil(textWidth(`+${n}`, "s")) + 1 : 0);

/** chipsWidth is the room that all of them take. */
export function chipsWidth(labels: readonly string[]): number {
  return labels.reduce((w, l) => w + gap + chip(l), labels.length ? -gap : 0);
}

/** whole are the first labels, n at most, that fit into the room as they are; if none does, the first. */
export function whole(labels: readonly string[], n: number, room: number): string[] {
  const out: string[] = [];
  for (const l of labels) if (out.length < n && chipsWidth([...out, l]) <= room) out.push(l);
  return out.length ? out : labels.slice(0, 1);
}

/** place says how wide each label is that there is room for; the last of them may be cut, to six letters at least. */
export function place(labels: readonly string[], room: number): number[] {
  const widths: number[] = [];
  let used = 0;
  for (const [i, l] of labels.entries()) {
    const free = room - used - more(labels.length - i - 1);
    const whole = chip(l);
    const least = Math.min(whole, chip(`${[...l].slice(0, fewest).join("")}…`));
    if (free < least) break;
    widths.push(Math.min(whole, free));
    if (whole > free) break;
    used += whole + gap;
  }
  return widths;
}

/** chips are labels in a row of a list: those that there is room for, and how many there are besides. */
export function chips(labels: readonly string[], room: number, on: readonly string[], toggle: (l: string) => void): TemplateResult {
  const widths = place(labels, room);
  const rest = labels.slice(widths.length);
  return html`${widths.map((w, i) => {
      const l = labels[i]!;
      return html`<button class="chip" type="button" tabindex="-1" aria-pressed=${on.includes(l)} title=${`Filter by ${l}`} .style=${`max-width:${w}px`} @click=${() => toggle(l)}><span>${l}</span></button>`;
    })}
    ${rest.length ? html`<span class="muted small" title=${rest.join("\n")}>+${rest.length}</span>` : nothing}`;
}

/** nameWidth is the room of a name, and of a chip beside it. */
export function nameWidth(name: string, mark = "", weight = 600): number {
  return Math.ceil(textWidth(name, "m", weight)) + 2 + (mark === "" ? 0 : gap + chip(mark));
}

/** actionsWidth is the room of a row's button, if it has one, and of its menu. */
export function actionsWidth(word: string, picture = 0): number {
  const dots = 34;
  return word === "" ? dots : Math.ceil(textWidth(word, "s", 600)) + 18 + picture + gap + dots;
}
