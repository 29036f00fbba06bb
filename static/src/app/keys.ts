import { html } from "lit";
import { Part } from "../ui/element";
import { icon } from "../ui/icon";
import { go, type Route } from "./route";

const chord = 1500; // ms between `g` and the page's letter
const setting = "scrier.keys";

/** keysOn says whether single keys do things; people who dictate switch them off (My account). */
export function keysOn(): boolean {
  try {
    return localStorage.getItem(setting) !== "off";
  } catch {
    return true; // storage is switched off
  }
}

export function setKeys(on: boolean): void {
  try {
    if (on) localStorage.removeItem(setting);
    else localStorage.setItem(setting, "off");
  } catch {
    // then they stay on
  }
}

/** Keys listens to the whole document for the keys that every page has. */
export class Keys {
  private since = 0; // when `g` was pressed

  constructor(private readonly routes: () => readonly Route[]) {}

  readonly handle = (e: KeyboardEvent): void => {
    if (e.defaultPrevented || e.ctrlKey || e.metaKey || e.altKey || !keysOn()) return;
    const el = e.target as HTMLElement;
    if (el.closest("input, textarea, select, [contenteditable]") || document.querySelector("dialog[open]")) return;
    if (Date.now() - this.since < chord) {
      this.since = 0;
      const r = this.routes().find((r) => r.key === e.key);
      if (r) {
        e.preventDefault();
        go(r.path);
        return;
      }
    }
    if (e.key === "g") this.since = Date.now();
    else if (e.key === "/") this.search(e);
    else if (e.key === "?") {
      e.preventDefault();
      showKeys(this.routes());
    }
  };

  private search(e: KeyboardEvent): void {
    const field = document.querySelector<HTMLInputElement>("[data-search]");
    if (!field) return;
    e.preventDefault();
    field.focus();
    field.select();
  }
}

/** KeyList is the dialog that tells the keys. */
class KeyList extends Part {
  static override properties = { routes: { attribute: false } };
  declare routes: readonly Route[];

  override render() {
    const line = (keys: string[], what: string) => html`<tr><td>${keys.map((k) => html`<kbd>${k}</kbd> `)}</td><td>${what}</td></tr>`;
    return html`<dialog class="box" aria-labelledby="keys-title" @close=${() => this.remove()}>
      <div class="body">
        <div class="row"><h2 id="keys-title">Keys</h2>
          <button class="button quiet icon end" type="button" aria-label="Close" @click=${() => this.querySelector("dialog")?.close()}>${icon("close")}</button>
        </div>
        <table class="keys">
          <thead><tr><th scope="col">Key</th><th scope="col">What it does</th></tr></thead>
          <tbody>
            ${this.routes.map((r) => line(["g", r.key], `Go to ${r.title}`))}
            ${line(["/"], "Search")} ${line(["↓", "↑"], "Move in a list")}
            ${line(["Enter"], "Open: the machine's usual session in the fleet, details elsewhere")}
            ${line(["Space"], "Details of the row")} ${line(["m"], "Menu of the row")} ${line(["Esc"], "Clear the search, close what is open")} ${line(["?"], "This list")}
          </tbody>
        </table>
        <p class="muted small">Single keys can be switched off on the page My account.</p>
      </div>
    </dialog>`;
  }

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
  }
}

customElements.define("scrier-keys", KeyList);

export function showKeys(routes: readonly Route[]): void {
  const el = document.createElement("scrier-keys") as KeyList;
  el.routes = routes;
  document.body.append(el);
}
