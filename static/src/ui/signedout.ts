import { Problem } from "../api";

/** signinPath leads to the page of signing in and from there back to where the person is. */
export function signinPath(): string {
  const here = location.pathname + location.search;
  return here === "/" ? "/signin" : `/signin?next=${encodeURIComponent(here)}`;
}

/** signedOut goes to sign in if that is what err asks for, and says whether it does. */
export function signedOut(err: unknown): boolean {
  if (!Problem.from(err).signIn || location.pathname === "/signin") return false;
  location.assign(signinPath());
  return true;
}
