// The way into a shell in Firefox: the fleet, typing, the size, a reload, the end.
import { Firefox } from "./bidi.mjs";
import { check, link, same } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const page = await Firefox.start();
process.once("SIGTERM", () => page.close());
try {
  await page.goto(link);
  await page.click("Sign in as alice");
  await page.click("Not now");
  await page.click("Shell on web1");
  const t = new Terminal(page);
  const status = (pattern) => page.seen(`the status ${pattern}`, (p) => new RegExp(p).exec(document.querySelector("footer")?.textContent), pattern);
  await status("Connected.*WebTransport");
  await t.shows(/\$$/);
  const title = await page.evaluate(() => document.title);
  check(/^scr[a-z]+@web1$/.test(title), `the title is ${title}`);
  same(await t.answer("echo $((6*7)) $TERM"), "42 xterm-256color", "the answer");
  const [, cols, rows] = await status("(\\d+)×(\\d+)");
  same(await t.answer("stty size"), `${rows} ${cols}`, "stty size");
  const session = () => page.evaluate(() => new URLSearchParams(location.search).get("session"));
  const before = await session();
  await page.reload();
  await status("Connected.*WebTransport");
  same(await session(), before, "the session after a reload");
  await t.shows(/\$$/);
  await page.evaluate(() => document.querySelector(".xterm-helper-textarea").focus());
  same(await t.answer("echo still-$((1+1))"), "still-2", "the answer after a reload");
  await t.run("exit 7");
  await page.seen("the ending", () => [...document.querySelectorAll("h2")].some((h) => h.textContent === "The shell ended with status 7."));
  // The page tries WebSocket too when WebTransport takes long, and breaks it off when that is there.
  same(page.faults.filter((f) => !/ wss:\/\/localhost:\d+\/ws\/scrier\//.test(f)), [], "errors on the console");
} catch (err) {
  console.error(err.stack);
  console.error(await page.evaluate(() => `${location.href}\n${document.body.innerText}`).catch(() => ""));
  console.error(page.faults.join("\n"));
  process.exitCode = 1;
} finally {
  await page.close();
}
process.exit();
