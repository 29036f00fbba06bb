import { Problem } from "./problem";
import { read as readJSON } from "./read";

const root = "/api/v1";

export interface RequestOptions {
  signal?: AbortSignal | undefined;
  /** milliseconds; without it 30 s, which only opening a session exceeds */
  timeout?: number;
  /** texts are needed as they are: whoever shows them makes them safe */
  exact?: boolean;
}

/** request calls the API and gives the answer's JSON, undefined for 204. It throws Problem; an abort by opts.signal is thrown as it is. */
export async function request<T>(method: string, path: string, body?: unknown, opts: RequestOptions = {}): Promise<T> {
  return (await read<T>(method, path, body, opts)).value;
}

/** page is request for a list that the relay gives in pieces: next is the path of the one that follows. */
export async function page<T>(path: string, opts: RequestOptions = {}): Promise<{ value: T; next?: string }> {
  const { value, answer } = await read<T>("GET", path, undefined, opts);
  const next = /<\/api\/v1([^>]*)>\s*;\s*rel="next"/.exec(answer.headers.get("Link") ?? "")?.[1];
  return next === undefined ? { value } : { value, next };
}

/** Change is a request that has to be signed: its path from /api/v1 on, and the SHA-256 of its body in hex. */
export interface Change { method: string; path: string; sha256: string }

// What asks the person to sign; it gives the value of Scrier-Proof, or throws when they do not want to.
let prove: ((c: Change) => Promise<string>) | undefined;

/** proveWith says who asks the person to sign a change. Without that, such requests fail. */
export function proveWith(f: (c: Change) => Promise<string>): void {
  prove = f;
}

async function read<T>(method: string, path: string, body: unknown, opts: RequestOptions): Promise<{ value: T; answer: Response }> {
  const text = body === undefined ? undefined : JSON.stringify(body);
  try {
    return await send<T>(method, path, text, opts);
  } catch (err) {
    if (!prove || !(err instanceof Problem) || err.code !== "proof_required") throw err;
    return send<T>(method, path, text, opts, await prove({ method, path: root + path, sha256: await sha256(text ?? "") }));
  }
}

async function sha256(text: string): Promise<string> {
  const sum = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return Array.from(new Uint8Array(sum), (b) => b.toString(16).padStart(2, "0")).join("");
}

async function send<T>(method: string, path: string, body: string | undefined, opts: RequestOptions, proof?: string): Promise<{ value: T; answer: Response }> {
  const late = AbortSignal.timeout(opts.timeout ?? 30_000);
  const init: RequestInit = {
    method,
    headers: { Accept: "application/json" },
    credentials: "same-origin",
    cache: "no-store",
    redirect: "error",
    signal: opts.signal ? AbortSignal.any([opts.signal, late]) : late,
  };
  if (body !== undefined) {
    init.headers = { ...init.headers, "Content-Type": "application/json" };
    init.body = body;
  }
  if (proof !== undefined) init.headers = { ...init.headers, "Scrier-Proof": proof };
  let answer: Response;
  let text: string;
  try {
    answer = await fetch(root + path, init);
    text = answer.status === 204 ? "" : await answer.text();
  } catch (err) {
    if (opts.signal?.aborted) throw err;
    throw Problem.of("relay_unreachable", late.aborted ? "The relay did not answer in time." : "");
  }
  let value: unknown;
  try {
    value = text === "" ? undefined : opts.exact && answer.ok ? JSON.parse(text) : readJSON(text);
  } catch {
    if (answer.ok) throw Problem.of("internal", "The answer is not JSON.", answer.status);
  }
  if (!answer.ok) throw Problem.parse(answer.status, value);
  return { value: value as T, answer };
}

/** id makes a string safe to be one part of a path. */
export function id(s: string): string {
  return encodeURIComponent(s);
}

/** query makes "?a=b", without the values that are undefined or empty. */
export function query(values: Record<string, string | number | boolean | undefined>): string {
  const q = new URLSearchParams();
  for (const [k, v] of Object.entries(values)) if (v !== undefined && v !== "") q.set(k, String(v));
  const s = q.toString();
  return s === "" ? "" : "?" + s;
}
