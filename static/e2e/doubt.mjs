// Whoever came by a link that somebody else made may look. They prove who they are with their SSH key, and may do the rest.
import { check, origin, same, scrier, sign, story } from "./story.mjs";

await story(async (teller) => {
  const page = await teller.page();
  const link = (await scrier("operators", "link", "--username", "bob")).match(/https:\S+/)[0];
  await page.goto(link.replace("127.0.0.1", "localhost"));
  await page.getByText("This link was made by alice").waitFor();
  await page.getByRole("button", { name: "Sign in as bob" }).click();
  await page.getByRole("button", { name: "Not now" }).click();
  const navigation = page.getByRole("navigation", { name: "Pages" });
  await navigation.waitFor();
  same(await navigation.getByRole("link", { name: "Enrol" }).count(), 0, "ways to a page that would be refused");

  await page.goto(origin + "/enrol"); // is not a matter of the role
  await page.getByRole("heading", { name: "Prove first who you are" }).waitFor();
  await page.getByRole("link", { name: "Go to My account" }).click();
  await page.getByText("Prove that you are bob.").waitFor();
  await page.getByText("not proved", { exact: true }).waitFor();
  const other = page.getByRole("button", { name: "Link for another browser" });
  check(await other.isDisabled(), "a link is offered that would be refused");

  await page.getByRole("button", { name: "Add or prove a key" }).click();
  await sign(page, `${process.env.WORK}/bob`);
  await page.getByText("Prove that you are bob.").waitFor({ state: "detached" });
  await page.getByText("not proved", { exact: true }).waitFor({ state: "detached" });
  check(await other.isEnabled(), "no link for another browser");
  await navigation.getByRole("link", { name: "Enrol" }).click();
  await page.getByRole("button", { name: "Make the command" }).waitFor();
});
