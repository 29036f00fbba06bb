import { codeNamed } from "../wire/codes";
import { hintOn, sentence } from "../wire/hints";

/** Problem is an error of the relay (RFC 9457), or of the way to it, as a person can read it. */
export class Problem extends Error {
  readonly code: string; // a name of the table of codes
  readonly status: number; // HTTP's, or 0: no answer came
  readonly title: string; // a sentence
  readonly detail: string; // may hold strings of the far side: show it as text only
  readonly hint: string;

  constructor(code: string, status: number, title: string, detail = "", hint = "") {
    super(detail === "" ? title : `${title} ${detail}`);
    this.name = "Problem";
    this.code = code;
    this.status = status;
    this.title = title;
    this.detail = detail;
    this.hint = hint;
  }

  /** signIn says that signing in is the way out. */
  get signIn(): boolean {
    return ["unauthenticated", "signed_out", "expired", "operator_changed"].includes(this.code);
  }

  /** passing says that trying again later, without a change, makes sense. */
  get passing(): boolean {
    if (this.code === "file_failed" || this.code === "target_refused") return false; // a gateway's status, for what a machine will say again
    return this.status === 0 || this.status === 502 || this.status === 503 || this.status === 504 || this.code === "busy";
  }

  /** final says that trying again cannot help before somebody has changed something elsewhere. */
  get final(): boolean {
    return ["forbidden", "disabled", "revoked", "quarantined", "no_such_envoy", "not_found", "port_not_allowed", "login_not_allowed", "native_off", "console_off"].includes(this.code);
  }

  /** of makes the Problem of a code of the table. */
  static of(name: string, detail = "", status = 0): Problem {
    const c = codeNamed(name) ?? codeNamed("internal");
    return new Problem(name, status, sentence(c?.meaning ?? ""), detail, hintOn(name, c?.hint ?? ""));
  }

  /** from makes a Problem of whatever was thrown. */
  static from(err: unknown): Problem {
    if (err instanceof Problem) return err;
    return Problem.of("internal", err instanceof Error ? err.message : String(err));
  }

  /** parse reads the body of an answer that is an error; it need not be the relay's. */
  static parse(status: number, body: unknown): Problem {
    if (typeof body === "object" && body !== null) {
      const b = body as Record<string, unknown>;
      const text = (k: string) => (typeof b[k] === "string" ? (b[k] as string) : "");
      const name = /^urn:scrier:error:([a-z_]+)$/.exec(text("type"))?.[1];
      if (name !== undefined) {
        const known = codeNamed(name);
        const title = sentence(text("title") || (known?.meaning ?? name));
        return new Problem(name, status, title, text("detail"), hintOn(name, text("hint") || (known?.hint ?? "")));
      }
    }
    if (status === 502 || status === 503 || status === 504) return Problem.of("relay_unreachable", `HTTP status ${status}`, status);
    return Problem.of("internal", `The answer was HTTP status ${status}.`, status);
  }
}
