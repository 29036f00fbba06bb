// A link, once; a passkey; signing out everywhere.
import { check, link, origin, same, sign, signIn, story } from "./story.mjs";

await story(async (teller) => {
  teller.allow(/status of 40[13]/, /status of 410/);
  const context = await teller.context();
  const page = await context.newPage();
  const cdp = await context.newCDPSession(page);
  await cdp.send("WebAuthn.enable");
  await cdp.send("WebAuthn.addVirtualAuthenticator", {
    options: { protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true, automaticPresenceSimulation: true },
  });

  // Nobody in particular is asked to sign in, wherever they come from.
  await page.goto(origin + "/sessions");
  await page.waitForURL(/\/signin\?next=%2Fsessions$/);

  await page.goto(link);
  await page.getByRole("heading", { name: "Sign in as alice?" }).waitFor();
  same(await context.cookies(), [], "cookies of somebody who has only looked at a link");
  await page.getByRole("button", { name: "Sign in as alice" }).click();
  await page.getByRole("heading", { name: "Welcome, alice" }).waitFor();
  check(!page.url().includes("#"), `the link's secret is still in the address: ${page.url()}`);
  const [cookie] = await context.cookies();
  same([cookie.name, cookie.httpOnly, cookie.secure, cookie.sameSite, cookie.path], ["__Host-scrier", true, true, "Strict", "/"], "the cookie");
  await page.getByLabel("Name of the passkey").fill("the tests' own");
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await sign(page); // being signed in is not enough for a new passkey
  await page.getByRole("row", { name: /Online.*web1/ }).waitFor();

  // The same link again, in another browser and in this one.
  const other = await teller.page();
  await other.goto(link);
  await other.getByText("The sign-in link was used, is older than 15 minutes, or the operator has changed since.").waitFor();
  await other.getByRole("button", { name: "Sign in with a passkey" }).waitFor();
  await other.context().close();

  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(/\/signin$/);
  same(await context.cookies(), [], "cookies of somebody who signed out");
  await page.getByRole("button", { name: "Sign in with a passkey" }).click();
  await page.getByRole("row", { name: /Online.*web1/ }).waitFor();
  const [second] = await context.cookies();
  check(second.value !== cookie.value, "the passkey's sign-in has the cookie of the link's");

  // From another browser, everywhere: this one is out with its next question.
  await page.goto(origin + "/account");
  await page.getByText("the tests' own").waitFor();
  await page.getByRole("button", { name: "Link for another browser" }).click();
  await page.getByRole("dialog", { name: "Sign this change" }).getByRole("button", { name: "Use a passkey" }).click();
  const fresh = await page.getByRole("dialog").locator("code", { hasText: "/signin#" }).first().textContent();
  const elsewhere = await teller.page();
  await signIn(elsewhere, fresh.trim());
  await elsewhere.goto(origin + "/account");
  // The sign-ins come as they were last seen, this one first, and are sorted by their heads.
  const methods = () => elsewhere.locator("tbody td[data-label=By]").allTextContents();
  await elsewhere.getByRole("table").waitFor();
  same(await elsewhere.getByRole("columnheader", { name: "Last seen" }).getAttribute("aria-sort"), "ascending", "the first order");
  same(await elsewhere.locator("tbody tr").first().getByText("this one").count(), 1, "this one in the first row");
  await elsewhere.getByRole("button", { name: "By", exact: true }).click();
  same([...(await methods())].sort(), await methods(), "sorted by method");
  same((await methods()).includes("passkey") && (await methods()).includes("link"), true, "two methods");
  await elsewhere.getByRole("button", { name: "By", exact: true }).click();
  same([...(await methods())].sort().reverse(), await methods(), "sorted by method, the other way round");
  same(await elsewhere.getByRole("columnheader", { name: "By", exact: true }).getAttribute("aria-sort"), "descending", "the order that is told");
  await elsewhere.getByRole("button", { name: "Sign out everywhere" }).click();
  await elsewhere.getByRole("dialog").getByRole("button", { name: "Sign out everywhere" }).click();
  await elsewhere.waitForURL(/\/signin/);
  await page.goto(origin + "/").catch(() => {}); // the page may be leaving by itself
  await page.waitForURL(/\/signin/);
});
