/** Spec is what the page is to show, as its address says. */
export interface Spec {
  envoy: string;
  kind: "rdp" | "vnc";
  port: number | undefined;
  console: boolean; // vnc: the screen of who sits at the machine
  session: string | undefined; // one that is open already
  watch: boolean;
}

// /scrier/{envoy}?protocol=rdp|vnc[&port=N][&console=1] opens a session, &session=ID[&watch=1] attaches to one.
export function wanted(at: { pathname: string; search: string }): Spec | undefined {
  const path = /^\/scrier\/([^/]+)\/?$/.exec(at.pathname);
  const q = new URLSearchParams(at.search);
  const kind = q.get("protocol");
  if (!path?.[1] || (kind !== "rdp" && kind !== "vnc")) return undefined;
  const session = q.get("session") ?? undefined;
  const port = /^[1-9]\d{0,4}$/.test(q.get("port") ?? "") ? Number(q.get("port")) : undefined;
  let envoy: string;
  try {
    envoy = decodeURIComponent(path[1]);
  } catch {
    return undefined;
  }
  return {
    envoy, kind, session,
    port: port !== undefined && port < 65536 ? port : undefined,
    console: kind === "vnc" && q.get("console") === "1",
    watch: session !== undefined && q.get("watch") === "1",
  };
}

/** address is the one that leads to a spec again. */
export function address(s: Spec): string {
  const q = new URLSearchParams({ protocol: s.kind });
  if (s.port !== undefined) q.set("port", String(s.port));
  if (s.console) q.set("console", "1");
  if (s.session !== undefined) q.set("session", s.session);
  if (s.watch) q.set("watch", "1");
  return `/scrier/${encodeURIComponent(s.envoy)}?${q}`;
}
