// An administrator renames a machine on the page, lets it follow its hostname, and enrols one again in its own place.
import { check, origin, same, sign, signIn, story } from "./story.mjs";

await story(async (teller) => {
  teller.allow(/status of 40[39]/); // changes come again, signed; and one name is taken
  const page = await teller.page();
  await signIn(page);
  await page.getByRole("row", { name: /web1/ }).getByText("web1", { exact: true }).click();
  const drawer = page.getByRole("dialog", { name: "web1" });
  await drawer.getByText("It was given, and stays").waitFor();
  await drawer.getByLabel("New name").fill("db1");
  await drawer.getByRole("button", { name: "Rename" }).click();
  await sign(page);
  await drawer.getByText("db1 is the name of envoy").waitFor();
  await drawer.getByLabel("New name").fill("shop1");
  await drawer.getByRole("button", { name: "Rename" }).click();
  await sign(page);
  await page.getByText("It is called shop1.").waitFor();
  await page.getByRole("dialog", { name: "shop1" }).waitFor();
  const renamed = page.locator("dialog.drawer"); // it is called by its hostname at once, whatever that is here
  await renamed.getByRole("button", { name: "Follow the hostname" }).click();
  await sign(page);
  await renamed.getByText("It follows the hostname").waitFor();
  same(await renamed.getByRole("button", { name: "Follow the hostname" }).count(), 0, "ways to follow what it follows");
  await renamed.getByRole("button", { name: "Close" }).click();
  await page.waitForURL((url) => !url.searchParams.has("details"));

  await page.goto(origin + "/enrol");
  await page.getByLabel("Name").fill("nobody");
  const again = page.getByRole("checkbox", { name: /It is db1, enrolled again/ });
  check((await again.count()) === 0, "a place is offered that nobody has");
  await page.getByLabel("Name").fill("DB1");
  await again.check();
  await page.getByRole("button", { name: "Make the command" }).click();
  await sign(page);
  await page.getByText("Run this on the machine, as root").waitFor();
});
