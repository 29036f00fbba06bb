import { Part } from "../ui/element";
import { signedOut } from "../ui/signedout";
import { live } from "./live";

/** narrow is a window in which rows become small cards; list.css has the same width. */
export const narrow = matchMedia("(max-width: 699px)");

/** Page renders again when what is live changed, and keeps the last failure to show it. */
export class Page extends Part {
  static override properties: Record<string, object> = { failure: { state: true }, busy: { state: true } };
  declare failure: unknown;
  declare busy: boolean;
  private readonly change = () => this.requestUpdate();

  constructor() {
    super();
    this.busy = false;
  }

  override connectedCallback(): void {
    super.connectedCallback();
    live.addEventListener("change", this.change);
    narrow.addEventListener("change", this.change);
  }

  override disconnectedCallback(): void {
    live.removeEventListener("change", this.change);
    narrow.removeEventListener("change", this.change);
    super.disconnectedCallback();
  }

  /** attempt does what may fail: the failure is shown, or leads to signing in. */
  protected async attempt<T>(f: () => Promise<T>): Promise<T | undefined> {
    this.busy = true;
    this.failure = undefined;
    try {
      return await f();
    } catch (err) {
      if (!signedOut(err)) this.failure = err;
      return undefined;
    } finally {
      this.busy = false;
    }
  }
}

/** valueOf is the text of the field that an event comes from. */
export function valueOf(e: Event): string {
  return (e.target as HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement).value;
}
