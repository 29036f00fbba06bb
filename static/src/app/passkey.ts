import { beginPasskey, beginPasskeySignIn, challengePasskey, finishPasskey, finishPasskeySignIn, Problem, type Passkey, type SignedIn } from "../api";

// The two ceremonies of WebAuthn, with their errors as sentences.

/** passkeysWork says whether this browser, on this address, can do it at all. */
export function passkeysWork(): boolean {
  return isSecureContext && typeof PublicKeyCredential !== "undefined" && "parseCreationOptionsFromJSON" in PublicKeyCredential;
}

/** addPasskey makes a passkey in this browser and registers it. */
export async function addPasskey(name: string): Promise<Passkey> {
  const { flow, options } = await beginPasskey();
  const made = await ceremony(() => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options.publicKey) }));
  return finishPasskey(flow, name, made.toJSON());
}

/** signInWithPasskey lets the person choose one of their passkeys. */
export async function signInWithPasskey(): Promise<SignedIn> {
  const { flow, options } = await beginPasskeySignIn();
  const shown = await ceremony(() => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey) }));
  return finishPasskeySignIn(flow, shown.toJSON());
}

/** signWithPasskey signs a challenge; it gives the value of Scrier-Proof. */
export async function signWithPasskey(challenge: string): Promise<string> {
  const { flow, options } = await challengePasskey(challenge);
  const shown = await ceremony(() => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options.publicKey) }));
  const json = JSON.stringify(shown.toJSON()); // ASCII: all in it is base64url or a name of the standard's
  return `passkey ${challenge} ${flow} ${btoa(json).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "")}`;
}

async function ceremony(f: () => Promise<Credential | null>): Promise<PublicKeyCredential> {
  if (!passkeysWork()) throw new Problem("passkey", 0, "This browser cannot use passkeys here.", "", "Use a current browser, or sign in by a link.");
  let c: Credential | null;
  try {
    c = await f();
  } catch (err) {
    throw explain(err);
  }
  if (!(c instanceof PublicKeyCredential)) throw explain(undefined);
  return c;
}

function explain(err: unknown): Problem {
  switch (err instanceof DOMException ? err.name : "") {
    case "InvalidStateError":
      return new Problem("passkey", 0, "This device has a passkey for you already.", "", "Use the one that is there, or remove it first.");
    case "NotAllowedError":
    case "AbortError":
      return new Problem("passkey", 0, "No passkey was chosen.", "The browser's dialog was closed, or it took too long.", "Try again, or sign in by a link.");
    case "SecurityError":
      return new Problem("passkey", 0, "The browser does not allow passkeys at this address.", err instanceof Error ? err.message : "", "Open the relay by its name, with a certificate that the browser trusts.");
    case "NotSupportedError":
      return new Problem("passkey", 0, "This device cannot make such a passkey.", "", "Try another device or a security key.");
    default:
      return new Problem("passkey", 0, "The passkey did not work.", err instanceof Error ? err.message : "", "Try again, or sign in by a link.");
  }
}

/** deviceName is a first proposal for the name of a passkey made here. */
export function deviceName(): string {
  const ua = navigator.userAgent;
  const browser = /Firefox\//.test(ua) ? "Firefox" : /Edg\//.test(ua) ? "Edge" : /Chrome\//.test(ua) ? "Chrome" : /Safari\//.test(ua) ? "Safari" : "Browser";
  const system = /Android/.test(ua) ? "Android" : /iPhone|iPad/.test(ua) ? "iOS" : /Mac OS X/.test(ua) ? "macOS" : /Windows/.test(ua) ? "Windows" : /Linux/.test(ua) ? "Linux" : "";
  return system ? `${browser} on ${system}` : browser;
}
