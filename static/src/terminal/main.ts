import "../ui/theme.css";
import "../ui/controls.css";
import { refuseDrops } from "../ui/drop";
import { showScheme } from "../ui/scheme";
import "../viewer/viewer.css";
import "../files/files.css";
import "./terminal.css";
import { Tabs } from "./tabs";
import type { Spec } from "./tab";

// /scrier/{envoy}?protocol=ssh[&login=L] opens a session, ?session=ID[&watch=1] attaches to one.
function wanted(): Spec | undefined {
  const path = /^\/scrier\/([^/]+)\/?$/.exec(location.pathname);
  if (!path?.[1]) return undefined;
  const q = new URLSearchParams(location.search);
  const session = q.get("session") ?? undefined;
  return {
    envoy: decodeURIComponent(path[1]),
    protocol: q.get("protocol") ?? "ssh",
    login: q.get("login") ?? undefined,
    session,
    watch: session !== undefined && q.get("watch") === "1",
  };
}

showScheme();
refuseDrops();
const spec = wanted();
if (!spec) location.replace("/");
else {
  const tabs = new Tabs(document.body);
  const others = tabs.restore(spec.session);
  tabs.open(spec, true);
  for (const o of others) tabs.open(o, false);
}
