import { LitElement } from "lit";

/**
 * All parts render into the document itself, not a shadow: one stylesheet serves them all, and
 * labels, descriptions and the active row may refer to ids across parts.
 */
export class Part extends LitElement {
  protected override createRenderRoot(): HTMLElement {
    return this;
  }
}

declare global {
  interface HTMLElementEventMap {
    done: CustomEvent;
  }
}
