// Made-up fleets, sessions, operators and records, with names as they are in real life: long ones, short ones, many
// labels and none. What a number stands for is always the same.
const now = Date.now();
const ago = (s) => new Date(now - s * 1000).toISOString();
const pick = (list, n) => list[n % list.length];
export const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

const hosts = [
  (n) => `ip-10-${n % 200}-143-${(n * 7) % 250}.eu-central-1.compute.internal`,
  (n) => `web-${String(n).padStart(2, "0")}`,
  (n) => `prod-payments-api-7d9f8b6c5d-${(n * 7919).toString(36).slice(-5)}`,
  (n) => `db${n}.internal.example.com`,
  (n) => `k8s-worker-gpu-a100-rack${n % 40}-node${n % 16}.fra2.example.net`,
  (n) => `DESKTOP-${(n * 104729).toString(36).toUpperCase().slice(-7)}`,
  (n) => `build-arm64-${n}`,
  (n) => `raspberrypi${n}`,
  (n) => `lehrstuhl-für-informatik-${n}.uni-köln.example`,
];
const systems = [
  "Debian GNU/Linux 12 (bookworm)", "Ubuntu 24.04.1 LTS", "Amazon Linux 2023.6.20250107", "Red Hat Enterprise Linux 9.4 (Plow)", "Rocky Linux 9.4 (Blue Onyx)",
  "SUSE Linux Enterprise Server 15 SP5", "Alpine Linux v3.20", "Arch Linux", "Raspbian GNU/Linux 11 (bullseye)", "",
];
const warned = [
  [], [], [], [], [], ["its root file system is 97% full"], [], [], ["its clock is 7m12s behind"], [], ["its SSH server did not answer the agent"],
  [], ["its root file system is 99% full", "its clock is 1h2m ahead"], [], [], [], ["another machine, at 203.0.113.77, tried to connect with its identity"],
];

function labelsOf(n) {
  const l = { managed: "ansible", env: pick(["prod", "staging", "dev", "prod"], n) };
  if (n % 2) l.team = pick(["payments-and-billing", "search", "platform-infrastructure", "data"], n >> 1);
  if (n % 3) l["topology.kubernetes.io/zone"] = pick(["eu-central-1a", "eu-central-1b", "us-east-1c"], n);
  if (n % 5 === 0) Object.assign(l, { role: pick(["postgres", "frontend", "redis"], n), "cost-centre": `CC-${4000 + (n % 77)}`, owner: "anna.van.den.berg@example.com", tier: "1" });
  return l;
}

export function envoy(n) {
  const state = pick(["online", "online", "online", "stale", "online", "offline", "online", "online", "revoked", "online", "online"], n);
  const hostname = pick(hosts, n)(n);
  const warnings = pick(warned, n);
  const disk = Number(/(\d+)%/.exec(warnings[0] ?? "")?.[1] ?? (n * 13) % 94);
  const up = state === "online" || state === "stale";
  return {
    id: id(n), hostname, state, last_seen: ago(up ? n % 50 : 3600 * (1 + (n % 900))), version: pick(["v1.4.0", "v1.4.0", "v1.3.2", "v1.4.0-rc.1"], n) + " (1a2b3c4d5e6f 2026-11-27)", enrolled: "2026-01-01T00:00:00Z", labels: labelsOf(n),
    host_keys: ["SHA256:vYD3Z3HPe6fk0CNyj5p7tNgy6hnhXVCxiJyIEMcn4zU (ED25519)"], warnings: up ? warnings : [`last seen ${1 + (n % 900)}d ago`],
    facts: {
      hostname, os: pick(systems, n), arch: pick(["amd64", "amd64", "amd64", "arm64"], n), version: "v1.4.0 (1a2b3c4d5e6f 2026-11-27)", uptime: 86400 * (n % 300), load: (n * 17) % 900, disk, users: n % 4 ? [] : ["root", "deploy"].slice(0, 1 + (n % 2)),
      ssh: !warnings.some((w) => w.includes("SSH")), ssh_server: "SSH-2.0-OpenSSH_9.2p1", clock_offset_ms: 20, rdp: n % 9 === 5, vnc: n % 13 === 3, console: n % 17 === 7 ? "anna" : "",
    },
  };
}

const people = ["alice", "anna.van.den.berg@example.com", "bob", "svc-deploy-pipeline-production", "Łukasz Wiśniewski", "carla"];
const reasons = ["exit", "exit", "viewer_lost", "killed", "agent_lost", "exit", "auth_failed"];

export function session(n, me) {
  const open = n < 3;
  const attached = n === 1;
  return {
    id: `10000000-0000-4000-8000-${String(n).padStart(12, "0")}`, envoy_id: id(n * 3), envoy_name: pick(hosts, n * 3)(n * 3), operator: n % 3 === 0 ? me : pick(people, n), login: pick(["root", "deploy", "postgres", "anna.van.den.berg"], n), kind: pick(["ssh", "ssh", "ssh", "rdp", "vnc"], n),
    state: open ? "active" : "closed", attached, watchers: attached ? ["bob"] : [], own: n % 3 === 0, reason: open ? "" : pick(reasons, n), detail: !open && n % 7 === 4 ? "the agent's connection was lost" : "", sent: n * 3771, received: n * n * 91_077,
    created: ago(60 + n * 1700), opened: ago(58 + n * 1700), ...(open ? {} : { closed: ago(30 + n * 1500) }), ...(open && !attached ? { ends: new Date(now + (200 + n * 60) * 1000).toISOString() } : {}),
  };
}

export function user(n) {
  const key = (c) => `ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ${"x".repeat(30)}${n}${c.length} ${c}`;
  const keys = [[], [key("anna@thinkpad-x1-carbon-gen11.home.example.com")], [key("bob@laptop"), key("bob@yubikey-5c-nano")], [key("deploy@ci")]][n % 4];
  return { id: String(n), username: n < people.length ? people[n] : `operator-${n}`, role: pick(["admin", "viewer", "compliance"], n), keys, unproved: n % 4 === 3 ? keys : [], passkeys: n % 3, created: ago(n * 86400 * 40), changed: ago(n * 3600) };
}

const types = ["operator.login", "scrier.connect", "scrier.disconnect", "operator.login_refused", "session.watch", "envoy.host_keys_changed", "operator.passkey_alarm", "relay.start"];

export function record(n) {
  const type = pick(types, n);
  const machine = /^(scrier|session|envoy)/.test(type);
  return {
    seq: n, time: ago((400 - n) * 997), type, operator: type === "relay.start" ? "" : pick(people, n), envoy_id: machine ? id(n) : "", envoy_name: machine ? pick(hosts, n)(n) : "", session_id: type.startsWith("scrier") ? session(n, "alice").id : "",
    source: type === "relay.start" ? "" : n % 5 ? `203.0.113.${n % 250}` : `2001:db8:85a3::8a2e:370:${(n % 9999).toString(16)}`, code: pick(["ok", "ok", "exit", "unauthenticated", "ok", "ok", "ok", "ok"], n),
    detail: type === "operator.login_refused" ? "the signature does not fit the key that was offered" : "", fields: type === "envoy.host_keys_changed" ? { old: "SHA256:aaaaaaaaaaaaaaaaaaaaaaaaaaaa", new: "SHA256:bbbbbbbbbbbbbbbbbbbbbbbbbbbb" } : null,
  };
}

/** answers is what the API says of a world of so many envoys, by path; undefined: it is the relay's business. */
export function answers(count, me) {
  const few = count === 0 ? 0 : 40;
  const list = (n, f) => Array.from({ length: n }, (_, i) => f(i));
  const sessions = list(few, (i) => session(i, me)).filter((s) => Number(s.envoy_id.slice(-12)) < Math.max(count, 120));
  return (path, query) => {
    switch (path) {
      case "/envoys": {
        const limit = Number(query.get("limit") ?? count);
        const after = query.get("after");
        const first = after ? Number(after.slice(-12)) + 1 : 0;
        const rows = list(Math.max(0, Math.min(limit, count - first)), (i) => envoy(first + i));
        const more = first + rows.length < count;
        return { body: rows, next: more ? `/api/v1/envoys?limit=${limit}&after=${rows.at(-1).id}` : undefined };
      }
      case "/sessions":
        return { body: query.get("all") ? sessions : sessions.filter((s) => s.state !== "closed") };
      case "/users":
        return { body: list(Math.max(1, Math.min(few, 25)), user) };
      case "/audit":
        return { body: query.get("from") ? [record(Number(query.get("from")))] : list(few ? 200 : 1, (i) => record(few ? 200 + i : 0)), next: few ? "/api/v1/audit?limit=200&before=200" : undefined };
    }
    return undefined;
  };
}

/** madeUp has a page see a world of so many envoys; who is signed in, and all else, is the relay's. */
export async function madeUp(page, count) {
  await page.route(/\/api\/v1\/(start|envoys|sessions|users|audit)(\?.*)?$/, async (route) => {
    const url = new URL(route.request().url());
    const path = url.pathname.replace("/api/v1", "");
    if (path === "/start") {
      const real = await (await route.fetch()).json();
      const say = answers(count, real.self.username);
      const envoys = say("/envoys", new URLSearchParams("limit=1000"));
      const may = (v) => real.self.may.includes(v);
      await route.fulfill({ json: { ...real, envoys: may("see envoys") ? envoys.body : [], ...(envoys.next ? { next: envoys.next } : {}), sessions: say("/sessions", new URLSearchParams()).body } });
      return;
    }
    const { body, next } = answers(count, "alice")(path, url.searchParams);
    await route.fulfill({ headers: { "content-type": "application/json", ...(next ? { link: `<${next}>; rel="next"` } : {}) }, body: JSON.stringify(body) });
  });
}
