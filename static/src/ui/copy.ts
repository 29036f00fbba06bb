import { html } from "lit";
import { Part } from "./element";
import { icon } from "./icon";
import { toast } from "./toast";

const shown = 2000; // ms that the button says it worked

/** Copy is a line of text with a button that puts it on the clipboard. */
export class Copy extends Part {
  static override properties = { text: {}, label: {}, done: { state: true } };
  declare text: string;
  declare label: string; // what is copied, for people who do not see it
  declare done: boolean;

  constructor() {
    super();
    this.text = "";
    this.label = "text";
    this.done = false;
  }

  override render() {
    return html`<code>${this.text}</code>
      <button class="button quiet slim" type="button" aria-label=${`Copy ${this.label}`} @click=${this.copy}>
        ${icon(this.done ? "ok" : "copy")}<span aria-live="polite">${this.done ? "Copied" : "Copy"}</span>
      </button>`;
  }

  private async copy(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.text);
      this.done = true;
      setTimeout(() => (this.done = false), shown);
    } catch {
      const code = this.querySelector("code");
      if (code) getSelection()?.selectAllChildren(code);
      toast("The browser does not let the page copy. The text is selected: press Ctrl+C.");
    }
  }
}

customElements.define("sc-copy", Copy);
