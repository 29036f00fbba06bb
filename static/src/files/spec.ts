import { Path } from "../api/path";

/** Spec is what the page is to show, as its address says. */
export interface Spec {
  envoy: string;
  login: string | undefined;
  session: string | undefined; // one that is open already
  path: Path | undefined; // undefined: the login's home
}

// /scrier/{envoy}?protocol=ssh&view=files[&login=L][&session=ID][&path=P] shows files.
export function wanted(at: { pathname: string; search: string }): Spec | undefined {
  const part = /^\/scrier\/([^/]+)\/?$/.exec(at.pathname)?.[1];
  if (!part) return undefined;
  const q = new URLSearchParams(at.search);
  const path = q.get("path") ?? "";
  try {
    return {
      envoy: decodeURIComponent(part), login: q.get("login") || undefined, session: q.get("session") || undefined,
      path: path.startsWith("/") ? Path.of({ path }) : undefined,
    };
  } catch {
    return undefined;
  }
}

/** address is the one that leads to a spec again. */
export function address(s: Spec): string {
  const q = new URLSearchParams({ protocol: "ssh", view: "files" });
  if (s.session !== undefined) q.set("session", s.session);
  if (s.login !== undefined) q.set("login", s.login);
  if (s.path && !("raw" in s.path.where)) q.set("path", s.path.text);
  return `/scrier/${encodeURIComponent(s.envoy)}?${q}`;
}
