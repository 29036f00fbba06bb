import { html, type TemplateResult } from "lit";
import { Part } from "../ui/element";
import { told } from "../ui/notice";
import { toast } from "../ui/toast";
import { entries, notAKey, textOf } from "./keytext";

const maxFile = 64 << 10; // bytes: a .pub has some hundred

/** KeysField takes SSH public keys: typed, pasted, or from .pub files, also by dropping them. */
export class KeysField extends Part {
  static override properties = { value: {}, over: { state: true } };
  declare value: string;
  declare over: boolean;

  constructor() {
    super();
    this.value = "";
    this.over = false;
  }

  /** keys are the lines and blocks, without empty ones and comments. */
  get keys(): string[] {
    return entries(this.value);
  }

  override render(): TemplateResult {
    return html`<div class="field">
      <label for="keys">SSH public keys</label>
      <textarea id="keys" class="input ${this.over ? "over" : ""}" rows="4" spellcheck="false" autocapitalize="off" aria-describedby="keys-help"
        placeholder="ssh-ed25519 AAAA… ann@laptop" .value=${this.value} @input=${this.typed}
        @dragover=${this.dragged} @dragleave=${() => (this.over = false)} @drop=${this.dropped}></textarea>
      <div class="row"><span class="help" id="keys-help">One a line. Paste them, or drop .pub files here.</span>
        <button class="button slim end" type="button" @click=${() => this.querySelector<HTMLInputElement>("input")?.click()}>Choose files…</button>
        <input type="file" accept=".pub,.txt,.pem,.ssh2" multiple hidden tabindex="-1" aria-label="Files with public keys" @change=${this.chosen} /></div>
    </div>`;
  }

  private typed(e: Event): void {
    const field = e.target as HTMLTextAreaElement;
    this.value = field.value;
    const why = field.value.trim() && notAKey(field.value);
    field.setCustomValidity(why ? `This ${why}` : ""); // a private key is not sent
  }

  private dragged(e: DragEvent): void {
    if (!e.dataTransfer?.types.includes("Files")) return;
    e.preventDefault();
    this.over = true;
  }

  private dropped(e: DragEvent): void {
    this.over = false;
    if (!e.dataTransfer?.files.length) return;
    e.preventDefault();
    void this.read(e.dataTransfer.files);
  }

  private chosen(e: Event): void {
    const input = e.target as HTMLInputElement;
    if (input.files) void this.read(input.files).then(() => (input.value = ""));
  }

  private async read(files: FileList): Promise<void> {
    for (const f of files) {
      try {
        const text = f.size > maxFile ? "" : textOf(new Uint8Array(await f.arrayBuffer())).trim();
        const why = notAKey(text);
        if (why) toast(`${f.name} ${why}`, "bad");
        else this.value = [this.value.trim(), text].filter(Boolean).join("\n") + "\n";
      } catch (err) {
        toast(told(err), "bad");
      }
    }
  }
}

customElements.define("scrier-keysfield", KeysField);
