// A role sees no button that would be refused: every page is walked, every button pressed, and the
// relay says "forbidden" to none.
//   roles ROLE PAGE…   the pages that the role has
import { args, check, origin, same, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const [role, ...pages] = args;
// signin.mjs and kill.mjs have these; a session that is ended cannot be led to any more.
const leaving = /^(Sign out|Sign out everywhere|End it)$/;

await story(async (teller) => {
  teller.allow(/status of 403/);
  const page = await teller.page();
  await signIn(page);
  const refused = [];
  page.context().on("response", async (r) => {
    if (![401, 403].includes(r.status())) return;
    const problem = await r.json().catch(() => ({}));
    if (problem.type !== "urn:scrier:error:proof_required") refused.push(`${r.request().method()} ${r.url()}`); // that one is asked for
  });
  const asking = new Set(); // requests of the page's that have no answer yet
  page.on("request", (r) => new URL(r.url()).pathname.startsWith("/api/") && !r.url().endsWith("/events") && asking.add(r));
  for (const end of ["requestfinished", "requestfailed"]) page.on(end, (r) => asking.delete(r));
  // calmly clicks, and waits for what that asks.
  const calmly = async (button) => {
    asking.clear(); // what a page asked that is gone may have no end
    await button.click();
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
    await until("the page's requests to be answered", async () => {
      if (asking.size > 0) return false;
      await page.evaluate(() => new Promise((done) => setTimeout(done, 100))); // an answer may lead to the next request
      return asking.size === 0;
    });
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  };
  const self = await page.evaluate(async () => (await fetch("/api/v1/self")).json());
  same(self.role, role, "the role");
  same(await page.getByRole("navigation", { name: "Pages" }).getByRole("link").evaluateAll((l) => l.map((a) => a.pathname).sort()), [...pages].sort(), "the pages in the navigation");

  for (const path of ["/", "/sessions", "/operators", "/enrol", "/audit", "/account"]) {
    await page.goto(origin + path);
    if (!pages.includes(path) && path !== "/") {
      await page.getByRole("heading", { name: "This page is not for your role" }).waitFor();
      continue;
    }
    await page.locator("h1").waitFor();
    await page.waitForLoadState("load");
    const shown = page.getByRole("grid").or(page.getByRole("table")).first();
    await shown.waitFor();
    await press(page, page.locator("main"), new Set(), calmly);
    // What leads to a session or to a file must get there.
    for (const a of await page.locator("main a[href]:visible").evaluateAll((l) => l.map((a) => ({ href: a.href, file: a.hasAttribute("download") })))) {
      if (a.file) same(await page.evaluate(async (href) => (await fetch(href)).status, a.href), 200, a.href);
      else if (new URL(a.href).pathname.startsWith("/scrier/")) {
        const other = await page.context().newPage();
        await other.goto(a.href);
        await new Terminal(other).connected();
        if (new URL(a.href).searchParams.get("watch")) await other.getByRole("contentinfo").getByText("alice's session").waitFor(); // whose it is
        await other.close();
      }
    }
  }
  same(refused, [], "what the relay refused");
});

// press presses each button within, and those of the dialogs that this opens.
async function press(page, within, done, calmly) {
  const inDialog = await within.evaluate((e) => e.tagName === "DIALOG").catch(() => true);
  for (;;) {
    const dialog = page.locator("dialog[open]").last();
    if (!inDialog && (await dialog.count()) > 0) { // of the last button; one that asks the relay first may come late
      if (done.size < 100) await press(page, dialog, new Set([...done, "Close", "Cancel"]), calmly);
      await page.keyboard.press("Escape");
      check((await page.locator("main").count()) === 1, "the page is gone");
      continue;
    }
    const buttons = within.locator("button:visible:enabled");
    const names = await buttons.evaluateAll((l) => l.map((b) => b.getAttribute("aria-label") ?? b.textContent.replace(/\s+/g, " ").trim()));
    const at = names.findIndex((n) => !done.has(n) && !leaving.test(n));
    if (at < 0) return;
    done.add(names[at]);
    try {
      await calmly(buttons.nth(at));
    } catch (e) {
      if (inDialog || (await dialog.count()) === 0) throw e;
      done.delete(names[at]); // the dialog before it came between
      continue;
    }
    if (await page.getByRole("menu").count()) {
      await pressMenu(page, within.getByRole("button", { name: names[at], exact: true }).first(), calmly);
    } else if (inDialog && (await dialog.count()) > 0) {
      await page.keyboard.press("Escape");
      check((await page.locator("main").count()) === 1, "the page is gone");
    }
  }
}

// pressMenu presses each line of a row's menu, and leaves what this opens.
async function pressMenu(page, button, calmly) {
  const lines = await page.getByRole("menuitem").evaluateAll((l) => l.filter((e) => e.tagName === "BUTTON").map((e) => e.textContent.trim()));
  check(lines.length > 0, "a menu without a line");
  for (const line of lines) {
    if (!(await page.getByRole("menu").count())) await button.click();
    await calmly(page.getByRole("menuitem", { name: line, exact: true }));
    while (await page.locator("dialog[open]").count()) {
      await page.keyboard.press("Escape");
      await page.evaluate(() => new Promise((done) => setTimeout(done, 100)));
    }
  }
}
