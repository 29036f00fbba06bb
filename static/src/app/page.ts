import { Part } from "../ui/element";
import { signedOut } from "../ui/signedout";
import { live } from "./live";
import { closeDetails, detailsShown } from "./route";

/** narrow is a window in which rows become small cards; list.css has the same width. */
export const narrow = matchMedia("(max-width: 699px)");

/** Page renders again when what is live changed, and keeps the last failure to show it. */
export class Page extends Part {
  static override properties: Record<string, object> = { failure: { state: true }, busy: { state: true }, shown: { state: true } };
  declare failure: unknown;
  declare busy: boolean;
  declare shown: string; // whose details are shown beside a list, as the address says
  private readonly reread = () => (this.shown = detailsShown());
  private readonly change = () => this.requestUpdate();

  constructor() {
    super();
    this.busy = false;
    this.shown = detailsShown();
  }

  override connectedCallback(): void {
    super.connectedCallback();
    live.addEventListener("change", this.change);
    narrow.addEventListener("change", this.change);
    addEventListener("scrier-details", this.reread);
    addEventListener("popstate", this.reread);
  }

  override disconnectedCallback(): void {
    live.removeEventListener("change", this.change);
    narrow.removeEventListener("change", this.change);
    removeEventListener("scrier-details", this.reread);
    removeEventListener("popstate", this.reread);
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

/** Drawer is what is shown beside a list, above it; closing it changes the address. */
export class Drawer extends Page {
  private left = false;

  protected override updated(): void {
    const d = this.querySelector("dialog"); // it may have to be read first
    if (d && !d.open && !this.left) d.showModal();
  }

  protected readonly close = (): void => this.querySelector("dialog")?.close();
  protected readonly closed = (): void => {
    this.left = true;
    closeDetails();
  };

  // The second click of two is one on what the first has brought.
  protected readonly beside = (e: MouseEvent): void => {
    if (e.target === e.currentTarget && e.detail < 2) this.close();
  };
}

/** Place remembers the active row of a list, for who comes back from a session. */
export class Place {
  constructor(private readonly list: string) {}

  get key(): string {
    return `scrier.active.${this.list}`;
  }

  get(): string {
    try {
      return sessionStorage.getItem(this.key) ?? "";
    } catch {
      return ""; // storage is switched off
    }
  }

  readonly set = (e: CustomEvent<string>): void => {
    try {
      sessionStorage.setItem(this.key, e.detail);
    } catch {
      // then it is forgotten
    }
  };
}
