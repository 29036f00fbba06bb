import type * as m from "./model";
import { id, page, query, request, type Change, type RequestOptions } from "./request";

// The relay's API, one function a route. All throw Problem.

export const self = (o?: RequestOptions) => request<m.Self>("GET", "/self", undefined, o);
export const start = (o?: RequestOptions) => request<m.Start>("GET", "/start", undefined, o);
export const relay = (o?: RequestOptions) => request<m.RelayInfo>("GET", "/relay", undefined, o);

/** envoys is one page of the fleet; give next of the last one to go on. */
export const envoys = (limit: number, next?: string, o?: RequestOptions) => page<m.Envoy[]>(next ?? "/envoys" + query({ limit }), o);
export const envoy = (envoy: string, o?: RequestOptions) => request<m.Envoy>("GET", `/envoys/${id(envoy)}`, undefined, o);
export const revokeEnvoy = (envoy: string) => request<m.Envoy>("POST", `/envoys/${id(envoy)}/revoke`);
export const releaseEnvoy = (envoy: string, since: string) => request<m.Envoy>("POST", `/envoys/${id(envoy)}/release`, { since });
export const renameEnvoy = (envoy: string, to: { name: string } | { follow: true }) => request<m.Envoy>("POST", `/envoys/${id(envoy)}/rename`, to);
export const removeEnvoy = (envoy: string) => request<m.Envoy>("DELETE", `/envoys/${id(envoy)}`);
export const makeToken = (name: string, ttl: string, replace = false) => request<m.Token>("POST", "/tokens", { name, ttl, ...(replace ? { replace } : {}) });

export const users = (o?: RequestOptions) => request<m.User[]>("GET", "/users", undefined, o);
export const createUser = (user: { username: string; role: m.Role; keys: string[] }) => request<m.CreatedUser>("POST", "/users", user);
export const updateUser = (user: string, change: { role?: m.Role; keys?: string[] }) => request<m.User>("PUT", `/users/${id(user)}`, change);
export const deleteUser = (user: string) => request<void>("DELETE", `/users/${id(user)}`);
export const deleteUserPasskeys = (user: string) => request<void>("DELETE", `/users/${id(user)}/passkeys`);
export const makeUserLink = (user: string) => request<m.Link>("POST", `/users/${id(user)}/links`, {});

export const sessions = (all: boolean, o?: RequestOptions) => request<m.Session[]>("GET", "/sessions" + query({ all: all || undefined }), undefined, o);
export const session = (session: string, o?: RequestOptions) => request<m.Session>("GET", `/sessions/${id(session)}`, undefined, o);
export const endSession = (session: string) => request<void>("DELETE", `/sessions/${id(session)}`);
// Opening asks the agent, its SSH server and the login: up to 90 s.
export const connect = (req: m.ConnectRequest, o?: RequestOptions) => request<m.Opening>("POST", "/scrier/connect", req, { timeout: 600_000, ...o });
export const attach = (session: string, watch: boolean, o?: RequestOptions) =>
  request<m.Opening>("POST", `/sessions/${id(session)}/attach`, watch ? { watch } : {}, { timeout: 10_000, ...o });

/** audit is one page of records; while there is a next, there may be more that fit, even after a page without any. */
export const audit = (f: m.AuditFilter, next?: string, o?: RequestOptions) => page<m.AuditRecord[]>(next ?? "/audit" + query({ ...f }), o);
export const verifyAudit = () => request<m.AuditVerdict>("POST", "/audit/verify", {}, { timeout: 300_000 });
export const auditExport = "/api/v1/audit/export"; // a file: for a link with `download`

export const signinInfo = () => request<{ passkeys: boolean; why: string }>("GET", "/signin");
export const lookAtLink = (token: string) => request<m.LinkFor>("POST", "/signin/link/look", { token });
export const signInByLink = (token: string) => request<m.SignedIn>("POST", "/signin/link", { token });
export const beginPasskeySignIn = () => request<m.Flow<PublicKeyCredentialRequestOptionsJSON>>("POST", "/signin/passkey/begin", {});
export const finishPasskeySignIn = (flow: string, credential: unknown) => request<m.SignedIn>("POST", "/signin/passkey/finish", { flow, credential });
export const signOut = () => request<void>("POST", "/signout", {});

export const signIns = (o?: RequestOptions) => request<m.SignIn[]>("GET", "/self/signins", undefined, o);
export const endSignIn = (signin: string) => request<void>("DELETE", `/self/signins/${id(signin)}`);
export const signOutEverywhere = () => request<void>("DELETE", "/self/signins");
export const passkeys = (o?: RequestOptions) => request<m.Passkey[]>("GET", "/self/passkeys", undefined, o);
export const beginPasskey = () => request<m.Flow<PublicKeyCredentialCreationOptionsJSON>>("POST", "/self/passkeys/begin", {});
export const finishPasskey = (flow: string, name: string, credential: unknown) => request<m.Passkey>("POST", "/self/passkeys/finish", { flow, name, credential });
export const deletePasskey = (passkey: string) => request<void>("DELETE", `/self/passkeys/${id(passkey)}`);
export const challengeChange = (c: Change) => request<m.Challenge>("POST", "/self/proofs", c);
export const challengePasskey = (challenge: string) => request<m.Flow<PublicKeyCredentialRequestOptionsJSON>>("POST", `/self/proofs/${id(challenge)}/passkey`, {});
export const confirmSelf = () => request<void>("POST", "/self/confirm", {});
export const ownKeys = (o?: RequestOptions) => request<m.OwnKey[]>("GET", "/self/keys", undefined, o);
export const challengeClaim = () => request<m.Challenge>("POST", "/self/keys/begin", {});
export const claimKey = (challenge: string, signature: string) => request<m.OwnKey>("POST", "/self/keys", { challenge, signature });
export const makeLink = () => request<m.Link>("POST", "/self/links", {});
