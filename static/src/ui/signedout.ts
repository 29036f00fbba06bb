import { Problem } from "../api";

/** signinPath leads to the page of signing in and from there back to where the person is. */
export function signinPath(why = ""): string {
  const here = location.pathname + location.search;
  const q = new URLSearchParams();
  if (here !== "/") q.set("next", here);
  if (why) q.set("why", why);
  const s = q.toString();
  return s ? `/signin?${s}` : "/signin";
}

/** signedOut goes to sign in if that is what err asks for, and says whether it does; first: nobody was signed in on this page before. */
export function signedOut(err: unknown, first = false): boolean {
  const p = Problem.from(err);
  if (!p.signIn || location.pathname === "/signin") return false;
  // The relay does not know any more who has no sign-in; the page does.
  location.assign(signinPath(p.code !== "unauthenticated" ? p.code : first ? "" : "signed_out"));
  return true;
}
