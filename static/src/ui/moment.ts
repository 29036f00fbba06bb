import { html, type TemplateResult } from "lit";
import { date, exact } from "./format";

/** moment is a date and time; its weekday and zone are there for who points at it. */
export function moment(at: string | undefined): TemplateResult {
  return html`<span class="num" title=${exact(at)}>${date(at)}</span>`;
}
