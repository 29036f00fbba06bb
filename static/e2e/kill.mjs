// One administrator makes a sign-in link for another, who proves who they are, and ends the first one's session
// from the page; the terminal says why.
//   kill HOME   the other's home directory
import { args, check, origin, sign, signIn, story } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

await story(async (teller) => {
  teller.allow(/status of 403/);
  const page = await teller.page();
  await signIn(page);
  const operators = await page.context().newPage();
  await operators.goto(origin + "/operators");
  await operators.getByRole("button", { name: "Sign-in link for bob" }).click();
  await sign(operators);
  const fresh = await operators.getByRole("dialog").getByText("/signin#").first().textContent();
  await operators.close();
  const t = await Terminal.open(page);

  const sessions = await teller.page();
  await signIn(sessions, fresh.trim());
  // Whoever opened the link may be who made it: they can look, and that is all.
  await sessions.goto(origin + "/sessions");
  await sessions.getByRole("row", { name: /Attached.*alice.*web1/ }).waitFor();
  await sessions.getByRole("button", { name: "More on the session of alice on web1" }).click();
  await sessions.getByRole("menuitem", { name: "Details" }).waitFor();
  check((await sessions.getByRole("menuitem", { name: /End/ }).count()) === 0, "a session can be ended by whoever came by somebody else's link");
  await sessions.keyboard.press("Escape");
  await sessions.getByRole("link", { name: "Prove that you are bob" }).click();
  await sessions.getByRole("button", { name: "Prove it" }).click();
  await sign(sessions, args[0]);
  await sessions.getByText("It is you.").waitFor();
  await sessions.goto(origin + "/sessions");
  await sessions.getByRole("row", { name: /Attached.*alice.*web1/ }).waitFor();
  await sessions.getByRole("button", { name: "More on the session of alice on web1" }).click();
  await sessions.getByRole("menuitem", { name: "End…" }).click();
  await sessions.getByRole("dialog").getByRole("button", { name: "End it" }).click();
  await page.getByRole("heading", { name: "The session was ended by an administrator, or by its operator elsewhere." }).waitFor();
  await t.status(/Ended/);
  await sessions.getByRole("row", { name: /Closed.*alice.*web1/ }).waitFor();
});
