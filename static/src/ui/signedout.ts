import { Problem } from "../api";

/** signinPath leads to the page of signing in and from there back to where the person is. */
export function signinPath(why = ""): string {
  const here = location.pathname + location.search;
  const q = new URLSearchParams();
  if (here !== "/") q.set("next", here);
  if (why && why !== "unauthenticated") q.set("why", why); // nobody who was never signed in was signed out
  const s = q.toString();
  return s ? `/signin?${s}` : "/signin";
}

/** signedOut goes to sign in if that is what err asks for, and says whether it does. */
export function signedOut(err: unknown): boolean {
  const p = Problem.from(err);
  if (!p.signIn || location.pathname === "/signin") return false;
  location.assign(signinPath(p.code));
  return true;
}
