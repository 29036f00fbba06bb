import type { SearchAddon } from "@xterm/addon-search";
import { composing } from "../ui/typing";
import { button, el, icon } from "../viewer/dom";
import type { Screen } from "./screen";

/** SearchBar finds text in a screen's scrollback. */
export class SearchBar {
  readonly element: HTMLElement;
  private readonly input: HTMLInputElement;
  private readonly count: HTMLElement;
  private listening = false;

  constructor(private readonly screen: Screen) {
    this.input = el("input", { class: "input", type: "text", "aria-label": "Search in the terminal", placeholder: "Search", autocomplete: "off", spellcheck: "false" });
    this.count = el("span", { class: "muted small", role: "status" });
    this.element = el("form", { class: "searchbar", role: "search", hidden: true },
      this.input, this.count,
      button("Previous", { class: "button quiet icon", title: "Previous (Shift+Enter)" }, () => void this.find(false), icon("up")),
      button("Next", { class: "button quiet icon", title: "Next (Enter)" }, () => void this.find(true), icon("down")),
      button("Close the search", { class: "button quiet icon" }, () => this.close(), icon("close")));
    this.element.addEventListener("submit", (e) => e.preventDefault());
    this.input.addEventListener("input", () => void this.find(false, true));
    this.element.addEventListener("keydown", (e) => {
      if (composing(e)) return;
      if (e.key === "Escape") this.close();
      else if (e.key === "Enter" && e.target === this.input) void this.find(e.shiftKey === true ? false : true);
      else return;
      e.preventDefault();
    });
  }

  open(): void {
    this.element.hidden = false;
    this.input.select();
    this.input.focus();
  }

  close(): void {
    if (this.element.hidden) return;
    this.element.hidden = true;
    this.count.textContent = "";
    if (this.listening) void this.screen.search().then((s) => s.clearDecorations());
    this.screen.focus();
  }

  private async find(next: boolean, incremental = false): Promise<void> {
    let s: SearchAddon;
    try {
      s = await this.screen.search();
    } catch {
      this.count.textContent = "no connection"; // the search is loaded when it is first used
      return;
    }
    if (this.element.hidden) return; // closed meanwhile
    if (!this.listening) {
      this.listening = true;
      s.onDidChangeResults((r) => {
        this.count.textContent = this.input.value === "" ? "" : r.resultCount === 0 ? "nothing found" : `${r.resultIndex + 1} of ${r.resultCount}`;
      });
    }
    const decorations = { matchBackground: "#6b5200", activeMatchBackground: "#a15c00", matchOverviewRuler: "#c9a227", activeMatchColorOverviewRuler: "#ff9632" };
    if (this.input.value === "") {
      s.clearDecorations();
      this.count.textContent = "";
    } else if (next) s.findNext(this.input.value, { decorations });
    else s.findPrevious(this.input.value, { decorations, incremental });
  }
}
