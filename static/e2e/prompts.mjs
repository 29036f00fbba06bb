// What a machine says and asks before there is a shell, in the page:
//   prompts WORD [nowebtransport]
// The machine has a banner, and asks for WORD.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { args, check, origin, same, scrier, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const [word, without] = args;
const axe = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//);
  const page = await teller.page({ viewport: { width: 900, height: 620 } });
  if (without) await page.addInitScript(() => delete globalThis.WebTransport);
  const sent = []; // bodies of requests: no answer is in one
  page.on("request", (r) => sent.push(`${r.url()} ${r.postData() ?? ""}`));
  await signIn(page);
  const open = async () => {
    await page.goto(origin + "/");
    await page.getByRole("link", { name: "Shell on web1", exact: true }).click();
    await page.getByRole("heading", { name: /^scr[a-z]+@web1 asks$/ }).waitFor();
  };
  const input = page.getByLabel("Password:");
  const said = page.locator(".said pre");

  // The banner and the question are shown as the machine's, and what is typed is not seen.
  await open();
  check(/^Authorized use only\.\nAll activity    is watched\.\\x1b\[31mred/.test(await said.textContent()), `it says: ${await said.textContent()}`);
  check((await page.locator(".login figcaption").textContent()).match(/^scr[a-z]+@web1 says:$/), "nobody is named as the speaker");
  check(await page.getByText(/asks this, not Scrier/).isVisible(), "it does not say who asks");
  same(await input.getAttribute("type"), "password", "the kind of input");
  check(await input.evaluate((e) => e === document.activeElement), "the input does not have the focus");
  same(JSON.parse(await scrier("sessions", "list", "--json")).map((s) => s.state).join(), "waiting", "the session");
  await page.evaluate(axe);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] }, resultTypes: ["violations"] }));
    same(violations.map((v) => `${v.id}: ${v.nodes.map((n) => n.html).join()}`).join("; "), "", "what is out of somebody's reach");
    if (process.env.SCREENSHOTS) await page.screenshot({ path: join(process.env.SCREENSHOTS, `prompt-${colorScheme}.png`) });
  }
  if (process.env.SCREENSHOTS) {
    await page.setViewportSize({ width: 360, height: 620 });
    await page.screenshot({ path: join(process.env.SCREENSHOTS, "prompt-narrow.png") });
    await page.setViewportSize({ width: 900, height: 620 });
  }

  // A wrong answer is asked again.
  await input.fill("nonsense");
  await page.keyboard.press("Enter");
  await page.getByRole("alert").filter({ hasText: "That was not accepted" }).waitFor();

  // A reload comes back to the question.
  check(new URL(page.url()).searchParams.get("session"), "the address does not have the session");
  await page.reload();
  await input.waitFor();
  check((await said.textContent()).includes("Authorized use only."), "after a reload it says nothing");

  // The right one opens the shell, above which stands what was said.
  await input.fill(word);
  await page.getByRole("button", { name: "Answer" }).click();
  const t = new Terminal(page);
  await t.ready();
  check((await t.screen()).startsWith("Authorized use only.\n"), `the screen begins with: ${await t.screen()}`);
  same(await t.answer("echo $((6*7))"), "42", "the answer");
  await t.run("exit");
  await page.getByRole("heading", { name: "The shell ended." }).waitFor();

  // Whoever cancels ends it; so do three wrong answers, and another try is offered.
  await open();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("heading", { name: "You cancelled it." }).waitFor();
  await page.getByRole("button", { name: "Open a shell" }).click();
  for (let i = 0; i < 3; i++) {
    if (i > 0) await page.getByRole("alert").filter({ hasText: "That was not accepted" }).waitFor();
    await input.fill(`wrong ${i}`);
    await page.keyboard.press("Enter");
    await until("the answer's end", async () => !(await input.isVisible()) || (await input.inputValue()) === "");
  }
  await page.getByText(/did not accept what was answered/).waitFor();
  check((await said.textContent()).includes("Authorized use only."), "with the refusal it says nothing");
  await page.getByRole("button", { name: "Try again" }).click();
  await input.waitFor();
  await page.getByRole("button", { name: "Cancel" }).click();
  await page.getByRole("heading", { name: "You cancelled it." }).waitFor();
  await until("the sessions' end", async () => JSON.parse(await scrier("sessions", "list", "--json")).length === 0);
  check(!sent.some((s) => s.includes(word) || s.includes("nonsense")), "an answer is in a request");
});
