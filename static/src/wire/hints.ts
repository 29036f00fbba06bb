import { codeOf, type Code } from "./codes";

// Where the table's hint speaks of the command line, a page says this instead.
const onPages: Readonly<Record<string, string>> = {
  bad_request: "Check the values that were given.",
  unauthenticated: "Sign in; your place is kept.",
  signed_out: "Sign in again; your place is kept.",
  expired: "Open it again; if your sign-in has ended, sign in again.",
  operator_changed: "Sign in again.",
  not_found: "It may have ended meanwhile: look at the list.",
  relay_unreachable: "Check your network, then try again.",
  limit: "End a session on the page Sessions, or have an administrator raise scrier.max_sessions in server.yaml.",
  no_such_envoy: "Look for it on the page Fleet.",
  ambiguous_login: "Choose the one to use.",
  ambiguous_envoy: "Choose it on the page Fleet.",
  no_ssh_pubkey: "Have your SSH public key registered on the page Operators; make one with ssh-keygen -t ed25519.",
  token_invalid: "Make a new one on the page Enrol.",
  conflict: "Look at the list, then try again with another name or key.",
  taken_over: "Take it back with the button.",
  protocol_error: "Reload the page: the relay may have been updated.",
  version_mismatch: "Reload the page: the relay may have been updated.",
  internal: "Try again; the relay's log has the details.",
  proof_required: "Sign it with a passkey or your SSH key.",
  key_unproved: "Prove it on the page My account, or log in with it once: `scrier login HOST:PORT`.",
  quarantined: "See what happened on the page Fleet; an administrator releases or revokes it there.",
  last_admin: "Make somebody else an admin, who signs in once, and do it then. Root of the relay's host can do it with `scrier operators` and --state.",
  login_unanswered: "Open the shell again, and answer within two minutes what the machine asks.",
  link_invalid: "Get a new link from an administrator, or with `scrier login HOST:PORT --browser`.",
};

/** sentence makes a clause of the table a sentence. */
export function sentence(clause: string): string {
  const s = clause.trim();
  if (s === "") return "";
  const first = s.charAt(0).toUpperCase() + s.slice(1);
  return /[.!?…]$/.test(first) ? first : first + ".";
}

/** hintOn is what a person on a page can do about a code; given is the relay's own hint. */
export function hintOn(name: string, given: string): string {
  return onPages[name] ?? sentence(given);
}

/** explain is a code of a frame as what happened and what to do. */
export function explain(number: number): { code: Code; title: string; hint: string } {
  const code = codeOf(number);
  return { code, title: sentence(code.meaning), hint: hintOn(code.name, code.hint) };
}
