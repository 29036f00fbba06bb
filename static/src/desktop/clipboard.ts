import { StringReader, StringWriter, type Client, type InputStream } from "@glokon/guacamole-common-js";
import { amount } from "../viewer/text";
import { button, el } from "../viewer/dom";
import type { Desktop } from "../wire/messages";
import { forbidden, Pane } from "./pane";

const most = 256 << 10; // bytes of text, each way: what guacd takes

/**
 * ClipboardPane is the one place where text goes from one clipboard to the other. The system's own is
 * read and written by its buttons alone: a page that did so by itself would hand a machine every
 * password that is copied while it is open, and a machine could change what is pasted elsewhere.
 */
export class ClipboardPane extends Pane {
  private readonly text = el("textarea", { class: "input", id: "clipboard", rows: "8", spellcheck: "false", autocomplete: "off", autocapitalize: "off" });
  private readonly send = button("Send to the desktop", { class: "button primary" }, () => this.give());
  private readonly paste = button("Paste from this computer", {}, () => void this.read());
  private readonly copy = button("Copy to this computer", {}, () => void this.write());
  private readonly said = el("p", { class: "help", role: "status" });
  private readonly limits = el("div", { class: "stack tight" });
  private client: Client | undefined;
  private may: Desktop | undefined;

  constructor(closed: () => void) {
    super("Clipboard", closed);
    this.body.append(el("div", { class: "field" }, el("label", { for: "clipboard" }, "Text"), this.text),
      el("div", { class: "row" }, this.paste, this.send), el("div", { class: "row" }, this.copy), this.said,
      el("p", { class: "help" }, "Nothing is copied from or to this computer without one of these buttons."), this.limits);
    this.text.addEventListener("input", () => this.draw());
    this.draw();
  }

  /** use is the desktop that it is about, and what is allowed there. */
  use(client: Client, may: Desktop, watching: boolean): void {
    this.client = client;
    this.may = watching ? { ...may, toEnvoy: false } : may;
    client.onclipboard = (stream, mimetype) => this.take(stream, mimetype);
    const both = [
      watching || may.toEnvoy ? undefined : forbidden("Sending text to the desktop", "scrier.desktop.clipboard_to_envoy"),
      may.fromEnvoy ? undefined : forbidden("Taking text from the desktop", "scrier.desktop.clipboard_from_envoy"),
      watching ? el("p", { class: "help" }, "You are watching: only the owner of the session can send text.") : undefined,
    ];
    this.limits.replaceChildren(...both.filter((e) => e !== undefined));
    this.draw();
  }

  private draw(): void {
    const to = this.may?.toEnvoy === true;
    this.text.disabled = !to && this.may?.fromEnvoy !== true;
    this.text.readOnly = !to;
    this.send.disabled = !to || this.text.value === "";
    this.paste.disabled = !to;
    this.copy.disabled = this.text.value === "";
  }

  private say(s: string): void {
    this.said.textContent = s;
  }

  private take(stream: InputStream, mimetype: string): void {
    const reader = new StringReader(stream);
    let text = "";
    reader.ontext = (t) => {
      if (text.length <= most) text += t;
    };
    reader.onend = () => {
      if (!mimetype.startsWith("text/") || this.may?.fromEnvoy !== true) return;
      this.text.value = text.slice(0, most);
      this.say(`The desktop copied ${amount(text.length)} ${text.length === 1 ? "character" : "characters"}.`);
      this.draw();
    };
  }

  private give(): void {
    const text = this.text.value;
    if (!this.client || text === "") return;
    if (new TextEncoder().encode(text).length > most) return this.say(`That is too much: at most ${amount(most)} bytes.`);
    const writer = new StringWriter(this.client.createClipboardStream("text/plain"));
    writer.sendText(text);
    writer.sendEnd();
    this.say("Sent. Paste it there as usual.");
  }

  private async read(): Promise<void> {
    try {
      this.text.value = await navigator.clipboard.readText();
      this.draw();
      this.give();
    } catch {
      this.say("The browser does not let the page read the clipboard. Paste into the field with Ctrl+V, then send it.");
      this.text.focus();
    }
  }

  private async write(): Promise<void> {
    try {
      await navigator.clipboard.writeText(this.text.value);
      this.say("Copied to this computer.");
    } catch {
      this.text.select();
      this.say("The browser does not let the page write to the clipboard. The text is selected: press Ctrl+C.");
    }
  }
}
