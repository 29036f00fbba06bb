// The relay is killed under a page that types, and started again: the session is over, and nothing says or shows anything else.
import { spawn } from "node:child_process";
import { join } from "node:path";
import { check, same, scrier, signIn, story, until, work } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//, /net::ERR_/, /WebSocket connection .* failed/, /WebTransport/, /status of 4\d\d /);
  const page = await teller.page();
  await signIn(page);
  const t = await Terminal.open(page);
  await t.focus();
  await t.run("echo before-$((40+2))");
  await t.shows(/before-42/);

  process.kill(Number(process.env.RELAY_PID), "SIGKILL");
  await page.getByText("No connection to the relay; trying again.").waitFor();
  await page.keyboard.type("echo lost");
  await page.getByText("9 keys wait for the connection.").waitFor();
  const said = await page.locator("[role=tabpanel]:not([hidden]) .banner").textContent();
  check(!/kept|goes on|still/.test(said), `before it is known what became of the session, the page says: ${said}`);

  const relay = spawn("scrier", ["relay", "--state", join(work, "relay"), "--listen", process.env.RELAY], { stdio: "ignore" });
  const ended = new Promise((done) => relay.once("close", done));
  try {
    const another = page.getByRole("button", { name: "Open a new shell" });
    await another.waitFor();
    same(await page.locator("[role=tabpanel]:not([hidden]) .banner:not([hidden])").count(), 0, "banners over the end of the session");
    await page.getByText(/was restarted/).waitFor();
    await t.shows(/before-42/); // what was on the screen can still be read

    // Nothing lies over the button, and what was typed for the old shell does not come into the new one.
    await until("the machine is back", async () => JSON.parse(await scrier("envoys", "list", "--json"))[0].state === "online");
    await another.click();
    await t.connected();
    await t.shows(/[$#]$/);
    check(!/lost/.test(await t.screen()), `the new shell got keys of the old one:\n${await t.screen()}`);
    same(await t.answer("echo after-$((40+2))"), "after-42", "the new shell");
  } finally {
    relay.kill("SIGTERM");
    await ended;
  }
});
