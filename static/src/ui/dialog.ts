import { html, nothing, type TemplateResult } from "lit";
import { Part } from "./element";
import { notice } from "./notice";
import { signedOut } from "./signedout";

/** Question is what has to be answered before something happens that is hard to undo. */
export type Question = {
  title: string;
  text: string | TemplateResult;
  action: string; // the button's words: what will be done
  danger?: boolean;
  typed?: string; // what the person must type first
  run: () => Promise<unknown>; // its failure is shown in the dialog, which stays open
};

/** Ask is the dialog of a question; use [ask]. */
class Ask extends Part {
  static override properties = { question: { attribute: false }, busy: { state: true }, failure: { state: true }, text: { state: true } };
  declare question: Question;
  declare busy: boolean;
  declare failure: unknown;
  declare text: string;
  answer: (done: boolean) => void = () => {};

  constructor() {
    super();
    this.busy = false;
    this.text = "";
  }

  override render() {
    const q = this.question;
    const ready = !q.typed || this.text.trim() === q.typed;
    return html`<dialog class="box" aria-labelledby="ask-title" aria-describedby="ask-text" @cancel=${(e: Event) => this.busy && e.preventDefault()} @close=${() => this.closed(false)}>
      <form @submit=${this.submit}>
        <h2 id="ask-title">${q.title}</h2>
        <div id="ask-text">${q.text}</div>
        ${q.typed
          ? html`<div class="field">
              <label for="ask-typed">Type <code>${q.typed}</code> to go on</label>
              <input id="ask-typed" class="input" autocomplete="off" autocapitalize="off" spellcheck="false" .value=${this.text}
                @input=${(e: InputEvent) => (this.text = (e.target as HTMLInputElement).value)} />
            </div>`
          : nothing}
        ${this.failure ? notice(this.failure) : nothing}
        <div class="buttons">
          <button class="button" type="button" ?autofocus=${!q.typed} ?disabled=${this.busy} @click=${this.dismiss}>Cancel</button>
          <button class="button primary ${q.danger ? "danger" : ""}" ?disabled=${!ready || this.busy}>
            ${this.busy ? html`<span class="spinner"></span>` : nothing}${q.action}
          </button>
        </div>
      </form>
    </dialog>`;
  }

  override firstUpdated(): void {
    this.querySelector("dialog")?.showModal();
    this.querySelector<HTMLElement>("#ask-typed, [autofocus]")?.focus();
  }

  private dismiss(): void {
    this.querySelector("dialog")?.close();
  }

  private async submit(e: SubmitEvent): Promise<void> {
    e.preventDefault();
    this.busy = true;
    this.failure = undefined;
    try {
      await this.question.run();
      this.closed(true);
    } catch (err) {
      if (!signedOut(err)) this.failure = err;
    } finally {
      this.busy = false;
    }
  }

  private closed(done: boolean): void {
    this.answer(done);
    this.remove();
  }
}

customElements.define("sc-ask", Ask);

/** ask shows a question, does it when the person agrees, and says whether it was done. */
export function ask(question: Question): Promise<boolean> {
  return new Promise((resolve) => {
    const back = document.activeElement;
    const el = document.createElement("sc-ask") as Ask;
    el.question = question;
    el.answer = (done) => {
      resolve(done);
      if (back instanceof HTMLElement && back.isConnected) back.focus();
    };
    document.body.append(el);
  });
}
