// Leaving a shell by the way to the fleet: it is asked what becomes of it, it stands in the sidebar and beside its
// machine with the time that is left, and the way back leads to it. "Back" closes details, and nothing else.
import { check, origin, same, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

await story(async (teller) => {
  teller.allow(/status of 40[14] /); // addresses that there is nothing at, and the end of the sign-in
  const page = await teller.page({ viewport: { width: 1280, height: 800 } });
  await signIn(page);
  const t = await Terminal.open(page);
  const session = t.session;
  await t.run("kept=yes");
  const ask = page.getByRole("dialog", { name: /^Leave the shell on / });

  // The browser asks before a page is closed only while something would be lost: here a paste that is on its way.
  await t.run("clear; stty -echo; echo quiet-$((1+1)); sleep 1000");
  await t.shows(/^quiet-2$/m);
  await t.paste("x".repeat(2_000_000)); // one line, and more than anybody takes from it
  await page.getByText(/^Pasting /).waitFor();
  const asked = page.waitForEvent("dialog");
  await page.close({ runBeforeUnload: true });
  const question = await asked;
  same(question.type(), "beforeunload", "the question");
  await question.dismiss();
  await t.key("Control+c"); // ends the paste as well
  await page.getByText(/^Pasting /).waitFor({ state: "detached" });
  await t.key("Control+c");
  await t.run("stty echo; clear");
  same(await t.answer("echo still-$((1+1))"), "still-2", "the shell after a page that was not closed");
  const other = await page.context().newPage();
  const second = await Terminal.open(other);
  let questions = 0;
  other.on("dialog", (d) => {
    questions++;
    return d.accept();
  });
  const closed = other.waitForEvent("close");
  await other.close({ runBeforeUnload: true });
  await closed;
  same(questions, 0, "questions about a shell that goes on by itself");
  await page.evaluate((id) => fetch(`/api/v1/sessions/${id}`, { method: "DELETE" }), second.session);

  await page.getByRole("link", { name: "Fleet" }).click();
  await ask.getByText(/goes on without you for 5 minutes/).waitFor();
  await ask.getByRole("button", { name: "Cancel" }).click();
  check(page.url().includes(session), "Cancel left the page");

  await page.getByRole("link", { name: "Fleet" }).click();
  await ask.getByRole("button", { name: "Keep it running" }).click();
  await page.waitForURL(origin + "/");
  const mine = page.getByRole("region", { name: "Your sessions" }).getByRole("link", { name: /web1/ });
  await mine.filter({ hasText: /\d:\d\d/ }).waitFor(); // counts down
  same(new URL(await page.getByRole("link", { name: "Return to your session on web1" }).evaluate((a) => a.href)).searchParams.get("session"), session, "the way back beside the machine");

  // Details have an address; "back" closes them, and the page below is the same.
  await page.getByPlaceholder("Search").fill("web");
  await page.getByRole("link", { name: "Details of web1" }).click();
  const drawer = page.locator("scrier-envoy dialog[open]");
  await drawer.waitFor();
  const address = page.url();
  check(/[?&]details=/.test(address), `the details' address is ${address}`);
  await page.goBack();
  await drawer.waitFor({ state: "detached" });
  same(await page.getByPlaceholder("Search").inputValue(), "web", "the search after going back");
  await page.goForward();
  await drawer.waitFor();
  await page.getByRole("button", { name: "Close" }).click();
  await page.waitForURL((url) => !url.searchParams.has("details"));
  await page.goto(address);
  await drawer.getByRole("heading", { name: "web1" }).waitFor();
  await drawer.getByRole("link", { name: "All sessions here" }).click();
  await page.getByRole("heading", { name: "Sessions", level: 1 }).waitFor();
  same(await page.locator("dialog[open]").count(), 0, "drawers over another page");

  // Neither does a dialog stay over another page.
  await page.goto(origin + "/operators");
  await page.getByRole("button", { name: "New operator" }).waitFor();
  await page.getByRole("navigation", { name: "Pages" }).getByRole("link", { name: "Enrol" }).click();
  await page.goBack();
  await page.getByRole("button", { name: "New operator" }).click();
  await page.getByRole("dialog", { name: "New operator" }).waitFor();
  await page.goForward();
  await page.getByRole("heading", { name: "Enrol a machine" }).waitFor();
  same(await page.locator("dialog[open]").count(), 0, "dialogs over another page");

  // A double click on a name opens the details once; text in a row can be selected.
  await page.goto(origin + "/");
  await page.getByRole("link", { name: "Details of web1" }).dblclick();
  await drawer.waitFor();
  await page.evaluate(() => new Promise((done) => setTimeout(done, 300)));
  check(await drawer.isVisible(), "the second click closed what the first one opened");
  await page.keyboard.press("Escape");
  await drawer.waitFor({ state: "detached" });
  await page.getByRole("row", { name: /web1/ }).getByText(/Debian|Ubuntu|Linux/).first().dblclick();
  check((await page.evaluate(() => getSelection().toString().trim())) !== "", "no text of a row can be selected");
  same(await drawer.count(), 0, "drawers after a click on a row");

  // The active row is where it was.
  await page.getByRole("grid").focus();
  await page.keyboard.press("ArrowDown");
  const active = () => page.getByRole("grid").getAttribute("aria-activedescendant");
  const row = await active();
  check(row, "no row is active");
  await mine.click();
  await t.ready();
  same(await t.answer("echo $kept"), "yes", "what the shell remembers");
  await page.getByRole("link", { name: "Fleet" }).click();
  await ask.getByRole("button", { name: "Keep it running" }).click();
  await page.getByRole("row", { name: /web1/ }).waitFor();
  same(await active(), row, "the active row after returning");

  await mine.click();
  await t.ready();
  await page.getByRole("link", { name: "Fleet" }).click();
  await ask.getByRole("button", { name: "End it" }).click();
  await page.waitForURL(origin + "/");
  await mine.waitFor({ state: "detached" });
  await page.goto(origin + "/sessions");
  await until("the end", () => page.getByRole("row", { name: /Closed.*alice/ }).count());

  // A file that is dropped beside its place does not take the page away.
  const dropped = await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File(["x"], "x.txt"));
    return !document.body.dispatchEvent(new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true }));
  });
  check(dropped, "a dropped file takes the page away");

  // No password is asked for where no desktop answers.
  const envoy = await page.evaluate(async () => (await (await fetch("/api/v1/envoys")).json())[0].id);
  await page.goto(`${origin}/scrier/${envoy}?protocol=rdp`);
  await page.getByRole("heading", { name: "web1 has no remote desktop that answers." }).waitFor();
  same(await page.locator("input[type=password]").count(), 0, "passwords that are asked for");

  // An address that there is nothing at says so, to everybody; who is signed out from elsewhere is told.
  const stranger = await teller.page();
  await stranger.goto(origin + "/nowhere");
  await stranger.getByRole("heading", { name: "There is no such page" }).waitFor();
  same(new URL(stranger.url()).pathname, "/nowhere", "where a stranger ends");
  await page.goto(origin + "/sessions");
  await page.getByRole("grid").waitFor();
  const elsewhere = await page.context().newPage();
  await elsewhere.goto(origin + "/account");
  await elsewhere.getByRole("button", { name: "Sign out everywhere" }).click();
  await elsewhere.getByRole("dialog").getByRole("button", { name: "Sign out everywhere" }).click();
  await page.waitForURL((url) => url.pathname === "/signin");
  same(new URL(page.url()).searchParams.get("next"), "/sessions", "where signing in leads to");
  await page.getByText("Sign in again to go on where you were.").waitFor();
});
