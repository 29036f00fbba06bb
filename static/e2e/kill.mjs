// One administrator makes a sign-in link for another, who ends the first one's session from the
// page; the terminal says why.
import { origin, signIn, story } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

await story(async (teller) => {
  const page = await teller.page();
  await signIn(page);
  const operators = await page.context().newPage();
  await operators.goto(origin + "/operators");
  await operators.getByRole("button", { name: "Sign-in link for bob" }).click();
  const fresh = await operators.getByRole("dialog").getByText("/signin#").first().textContent();
  await operators.close();
  const t = await Terminal.open(page);

  const sessions = await teller.page();
  await signIn(sessions, fresh.trim());
  await sessions.goto(origin + "/sessions");
  await sessions.getByRole("row", { name: /Attached.*alice.*web1/ }).waitFor();
  await sessions.getByRole("button", { name: "End the session of alice on web1" }).click();
  await sessions.getByRole("dialog").getByRole("button", { name: "End it" }).click();
  await page.getByRole("heading", { name: "The session was ended by an administrator." }).waitFor();
  await t.status(/Ended/);
  await sessions.getByRole("row", { name: /Closed.*alice.*web1/ }).waitFor();
});
