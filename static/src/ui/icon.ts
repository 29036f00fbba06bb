import { html, svg, type TemplateResult } from "lit";

/** The few pictures there are; each stands beside a word or a label. */
const paths = {
  fleet: svg`<rect x="2" y="2.5" width="12" height="4.5" rx="1"/><rect x="2" y="9" width="12" height="4.5" rx="1"/><path d="M4.5 4.75h.01M4.5 11.25h.01"/>`,
  sessions: svg`<rect x="1.75" y="2.5" width="12.5" height="11" rx="1.5"/><path d="M4.5 6l2.25 2L4.5 10M8.5 10.25h3"/>`,
  operators: svg`<circle cx="6" cy="5.25" r="2.5"/><path d="M1.75 13.5c.3-2.6 2-4 4.25-4s3.95 1.4 4.25 4M10.5 2.9a2.5 2.5 0 010 4.7M12 9.9c1.4.5 2.1 1.8 2.25 3.6"/>`,
  enrol: svg`<path d="M8 2.5v11M2.5 8h11"/>`,
  audit: svg`<path d="M3.5 1.75h6L12.5 5v9.25h-9z"/><path d="M5.75 7.5h4.5M5.75 10.5h4.5"/>`,
  account: svg`<circle cx="8" cy="5.5" r="2.75"/><path d="M2.75 14c.35-3 2.4-4.5 5.25-4.5s4.9 1.5 5.25 4.5"/>`,
  search: svg`<circle cx="7" cy="7" r="4.5"/><path d="M10.5 10.5L14 14"/>`,
  close: svg`<path d="M3.5 3.5l9 9M12.5 3.5l-9 9"/>`,
  menu: svg`<path d="M2 4.25h12M2 8h12M2 11.75h12"/>`,
  warn: svg`<path d="M8 2L1.5 13.5h13zM8 6.5v3.25M8 11.75h.01"/>`,
  ok: svg`<path d="M2.75 8.5l3.5 3.5 7-8"/>`,
  info: svg`<circle cx="8" cy="8" r="6.25"/><path d="M8 7.25v4M8 4.75h.01"/>`,
  copy: svg`<rect x="5.5" y="5.5" width="8.5" height="8.5" rx="1.25"/><path d="M10.5 5.5V3.25C10.5 2.5 10 2 9.25 2h-6C2.5 2 2 2.5 2 3.25v6c0 .75.5 1.25 1.25 1.25H5.5"/>`,
  up: svg`<path d="M4 10l4-4 4 4"/>`,
  down: svg`<path d="M4 6l4 4 4-4"/>`,
  shell: svg`<path d="M3 4l4 4-4 4M8.5 12.5H13"/>`,
  files: svg`<path d="M1.75 4V13h12.5V5.25H8L6.5 3.25H1.75z"/>`,
  screen: svg`<rect x="1.75" y="2.5" width="12.5" height="8.5" rx="1.25"/><path d="M5.5 13.75h5"/>`,
  more: svg`<path d="M3.5 8h.01M8 8h.01M12.5 8h.01"/>`,
  key: svg`<circle cx="5" cy="11" r="2.75"/><path d="M7 9l6.25-6.25M10.5 5.5l2 2"/>`,
  leave: svg`<path d="M6.5 2.5H3v11h3.5M10 5l3 3-3 3M12.75 8H6.5"/>`,
  link: svg`<path d="M6.75 9.25a2.75 2.75 0 003.9 0l2.5-2.5a2.75 2.75 0 00-3.9-3.9L8 4.1M9.25 6.75a2.75 2.75 0 00-3.9 0l-2.5 2.5a2.75 2.75 0 003.9 3.9L8 11.9"/>`,
};

export type Icon = keyof typeof paths;

export function icon(name: Icon): TemplateResult {
  return html`<svg class="icon" viewBox="0 0 16 16" aria-hidden="true">${paths[name]}</svg>`;
}
