import { html, nothing, type TemplateResult } from "lit";
import { Problem } from "../api";
import { icon } from "./icon";

/** told is an error in one line. */
export function told(err: unknown): string {
  const p = Problem.from(err);
  return [p.title, p.detail && detailed(p.detail), p.hint].filter(Boolean).join(" ");
}

/** prose writes what stands between backquotes as code. */
export function prose(text: string): (string | TemplateResult)[] {
  return text.split("`").map((s, i) => (i % 2 ? html`<code>${s}</code>` : s));
}

// What a detail may begin with that is no name: only then it gets a capital.
const plain = /^(a|an|already|at|every|its?|key|keys|label|limit|name|no|none|not|of|only|role|several|some|that|the|there|this|those|ttl|username|with|you|your)\s/;

/** detailed makes a sentence of a problem's detail, which may begin with a name. */
function detailed(detail: string): string {
  const first = plain.test(detail) ? detail.charAt(0).toUpperCase() + detail.slice(1) : detail;
  return /[.!?…]$/.test(first) ? first : `${first}.`;
}

/** notice shows an error as a sentence with a way out; retry adds a button. */
export function notice(err: unknown, retry?: () => void): TemplateResult {
  const p = Problem.from(err);
  return html`<div class="notice bad" role="alert">
    ${icon("warn")}
    <div>
      <p><strong>${prose(p.title)}</strong></p>
      ${p.detail ? html`<p>${detailed(p.detail)}</p>` : nothing}
      ${p.hint ? html`<p>${prose(p.hint)}</p>` : nothing}
    </div>
    ${retry && !p.final ? html`<button class="button slim" type="button" @click=${retry}>Try again</button>` : nothing}
  </div>`;
}

/** loading is the shape of some lines that are on their way. */
export function loading(what: string): TemplateResult {
  return html`<div class="skeleton lines" role="status"><span class="visually-hidden">${what}</span>${[0, 1, 2].map((i) => html`<div aria-hidden="true"><i></i><i class=${`w${i}`}></i></div>`)}</div>`;
}

/** skeleton is the shape of a list that is on its way. */
export function skeleton(what: string): TemplateResult {
  return html`<div class="panel skeleton" role="status"><span class="visually-hidden">${what}</span>${Array.from({ length: 12 }, (_, i) => html`<div aria-hidden="true"><i></i><i class=${`w${i % 4}`}></i><i class=${`w${(i + 2) % 4}`}></i></div>`)}</div>`;
}
