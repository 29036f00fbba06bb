/** Remembered is what the form offers again; never a password. */
export interface Remembered {
  username: string;
  domain: string;
  security: string;
  keyboard: string;
}

const key = (envoy: string) => `scrier.rdp.${envoy}`; // localStorage

export function recall(envoy: string): Partial<Remembered> {
  try {
    const v = JSON.parse(localStorage.getItem(key(envoy)) ?? "{}") as Record<string, unknown>;
    const text = (k: string) => (typeof v[k] === "string" ? { [k]: (v[k] as string).slice(0, 256) } : {});
    return { ...text("username"), ...text("domain"), ...text("security"), ...text("keyboard") };
  } catch {
    return {};
  }
}

export function remember(envoy: string, r: Remembered): void {
  try {
    const { username, domain, security, keyboard } = r;
    localStorage.setItem(key(envoy), JSON.stringify({ username, domain, security, keyboard }));
  } catch {
    // then it is asked again
  }
}
