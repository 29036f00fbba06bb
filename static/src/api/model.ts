// What the API takes and gives; times are RFC 3339 strings.

export type Role = "admin" | "operator" | "viewer" | "compliance";

export type Verb =
  | "see yourself" | "see envoys" | "change envoys" | "see sessions" | "open sessions"
  | "end your own sessions" | "end sessions"
  | "see the audit log" | "see metrics" | "see operators" | "change operators" | "make enrolment tokens" | "watch sessions";

export interface Self {
  id: string;
  username: string;
  role: Role;
  may: Verb[];
  doubt?: string; // who made the link that this browser came by, if nobody has proved since that it is the operator
}

/** Challenge is what is to be signed, once, within 5 minutes. */
export interface Challenge {
  id: string;
  text: string;
  namespace: string;
  keys: string[]; // fingerprints of the SSH keys that count
  passkeys: boolean; // whether a passkey counts here as well
  expires: string;
}

/** OwnKey is an SSH key of one's own; it counts since proved. */
export interface OwnKey { key: string; fingerprint: string; added: string; proved?: string }

/** LinkFor is whom a sign-in link signs in, and who made it. */
export interface LinkFor { username: string; role: Role; by: string }

export interface RelayInfo {
  version: string;
  cluster: string;
  fingerprint: string;
  live_view: boolean;
  passkeys: boolean;
  passkeys_why: string;
  detach_grace: number; // seconds
  max_sessions: number;
  kinds: string[];
  desktop: DesktopPolicy;
}

/** DesktopPolicy is what server.yaml allows with remote desktops. */
export interface DesktopPolicy {
  clipboard_to_envoy: boolean;
  clipboard_from_envoy: boolean;
  upload: boolean;
  download: boolean;
  audio: boolean;
  native_viewers: boolean;
}

export interface Facts {
  hostname: string;
  os: string;
  arch: string;
  version: string;
  uptime: number; // seconds
  load: number; // hundredths
  disk: number; // per cent used
  users: string[] | null;
  ssh: boolean;
  ssh_server: string;
  clock_offset_ms: number;
  rdp: boolean; // a server that may be trusted listens at RDP's port
  vnc: boolean;
  console: string; // who sits at the screen; empty: nobody, or it is not shared
}

export type EnvoyState = "online" | "stale" | "offline" | "revoked" | "quarantined";

/** Certificate is one that an envoy's agent used. */
export interface Certificate { generation: number; source: string; time?: string; key: string }

/** Quarantine says what two machines did with one identity. */
export interface Quarantine { since: string; why: string; counts: Certificate; other: Certificate }

export interface Envoy {
  id: string;
  hostname: string;
  state: EnvoyState;
  last_seen: string;
  version: string;
  enrolled: string;
  revoked?: string;
  labels: Record<string, string> | null;
  facts: Facts;
  host_keys: string[] | null;
  warnings: string[] | null;
  transport?: string; // quic or tcp, what carries its agent's connection
  transport_reason?: string; // why it is not quic, in the agent's words
  follows: boolean; // hostname is what the agent reports; else somebody has given it
  quarantine?: Quarantine;
}

/** Start is all that a page begins with; next is where more envoys are. */
export interface Start { self: Self; relay: RelayInfo; envoys: Envoy[]; next?: string; sessions: Session[] }

export interface Token { id: string; token: string; fingerprint: string; expires: string; name?: string }

export interface Link { url: string; path?: string; expires: string }

export interface User {
  id: string;
  username: string;
  role: Role;
  keys: string[] | null;
  unproved: string[] | null; // those of keys that nobody has claimed yet
  passkeys: number;
  created: string;
  changed: string;
}

export interface CreatedUser extends User { relay_fingerprint: string; link: Link }

export interface Session {
  id: string;
  envoy_id: string;
  envoy_name: string;
  operator: string;
  login: string;
  kind: string;
  channel?: string; // of an open one of kind ssh: what whoever attaches sees, "hold" where that is nothing
  state: "waiting" | "active" | "closing" | "closed"; // closing: it has ended, and the audit log lacks the record
  attached: boolean;
  watchers: string[] | null;
  own: boolean;
  reason: string; // the name of the code it ended with
  detail?: string;
  sent: number;
  received: number;
  created: string;
  opened?: string;
  closed?: string;
  ends?: string; // when it ends unless its owner comes back
}

export interface ConnectRequest {
  envoy_id: string;
  protocol: string;
  port?: number;
  login?: string;
  cols?: number;
  rows?: number;
  channel?: "hold"; // ssh: the first channel; else the login's shell
  answers?: boolean; // ssh: what the machine says before there is a shell is shown, and what it asks is answered
  console?: boolean; // vnc: the screen of who sits at the machine, who may say no
  view?: boolean; // console: look only
  purpose?: string; // console: shown to who is asked
  desktop?: DesktopRequest;
}

/** DesktopRequest is what a desktop server is told; the relay stores no password. */
export interface DesktopRequest {
  username?: string;
  password?: string;
  domain?: string;
  security?: string;
  keyboard?: string;
  width?: number; // pixels
  height?: number;
  dpi?: number;
  timezone?: string;
}

/** Opening is what a viewer needs to attach, once and within 10 s. */
export interface Opening {
  session_id: string;
  ticket: string; // base64url
  wt: string;
  ws: string;
  cert_hashes: string[] | null; // base64 of sha256
}

export interface AuditRecord {
  seq: number;
  time: string;
  type: string;
  operator: string;
  envoy_id: string;
  envoy_name: string;
  session_id: string;
  source: string;
  code: string;
  detail: string;
  fields: Record<string, string> | null;
}

export interface AuditFilter {
  from?: number;
  limit?: number;
  before?: number;
  type?: string;
  operator?: string;
  envoy?: string;
  session?: string;
  q?: string;
}

export interface AuditVerdict { ok: boolean; records: number; head?: string; detail?: string }

export interface SignedIn { username: string; role: Role }

export interface SignIn {
  id: string;
  current: boolean;
  created: string;
  seen: string;
  expires: string;
  source: string;
  agent: string;
  method: "link" | "passkey";
}

export interface Passkey { id: string; name: string; rp_id: string; created: string; used?: string }

/** Flow is the first half of a WebAuthn ceremony; options is for parse…OptionsFromJSON. */
export interface Flow<T> { flow: string; options: { publicKey: T } }
