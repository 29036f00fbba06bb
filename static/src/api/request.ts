import { Problem } from "./problem";

const root = "/api/v1";

export interface RequestOptions {
  signal?: AbortSignal | undefined;
  /** milliseconds; without it 30 s, which only opening a session exceeds */
  timeout?: number;
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

async function read<T>(method: string, path: string, body: unknown, opts: RequestOptions): Promise<{ value: T; answer: Response }> {
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
    init.body = JSON.stringify(body);
  }
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
    value = text === "" ? undefined : JSON.parse(text);
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
