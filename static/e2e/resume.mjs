// What a session outlives: a reload, a dead network, a closed tab, another viewer.
import { args, check, link, origin, same, scrier, signIn, story, until } from "./story.mjs";
import { Path } from "./path.mjs";
import { Program } from "./program.mjs";
import { Terminal } from "./terminal.mjs";

const [transport] = args;
const last = 1000; // what the counter counts to, in four parts

await story(async (teller) => {
  // What Chromium says of connections that are cut.
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//, /net::ERR_/, /WebSocket connection .* failed/, /WebTransport/, /status of 404 .*\/attach/);
  const path = await Path.open(process.env.RELAY);
  const context = await teller.context();
  if (transport === "WebSocket") await context.addInitScript(() => delete globalThis.WebTransport);
  const page = await context.newPage();
  await signIn(page, link.replace(origin, path.origin));
  const t = await Terminal.open(page, path.origin);
  await t.status(new RegExp(transport));
  const { session } = t;
  check(session, "the address does not name the session");

  // A shell that counts, and waits for Enter behind each quarter.
  const quarter = last / 4;
  await t.run(`clear; for i in $(seq ${last}); do echo n$i.; [ $((i % ${quarter})) = 0 ] && read -r _; done; echo counted-$((1+1))`);
  await t.shows(new RegExp(`n${quarter}\\.`));
  await page.reload();
  await t.connected();
  await t.shows(new RegExp(`n${quarter}\\.`));
  same(t.session, session, "the session after a reload");

  // The network dies while the shell writes; what is typed meanwhile is shown as waiting, and arrives once.
  await t.focus();
  await t.key("Enter");
  path.cut();
  await page.getByText("No connection to the relay; trying again.").waitFor();
  await t.key("Enter");
  await page.getByText("1 key waits for the connection.").waitFor();
  path.mend();
  await t.connected();
  await t.shows(new RegExp(`n${3 * quarter}\\.`));
  await page.getByText("1 key waits for the connection.").waitFor({ state: "detached" });

  // A reload in the middle of the output.
  await t.key("Enter");
  await page.reload();
  await t.connected();
  await t.shows(new RegExp(`n${last}\\.`));
  await t.focus();
  await t.key("Enter");
  await t.shows(/counted-2/);
  const numbers = (await t.everything()).join("\n").match(/n\d+\./g).map((n) => Number(n.slice(1, -1)));
  const wrong = numbers.findIndex((n, i) => n !== i + 1);
  check(wrong < 0 && numbers.length === last, `${numbers.length} numbers are on the screen, and the ${wrong}th of them is ${numbers[wrong]}`);
  if (transport === "WebSocket") {
    // The session ends while there is no network: then no key waits for it, and nothing lies over the way on.
    path.cut();
    await page.getByText("No connection to the relay; trying again.").waitFor();
    await t.key("x");
    await page.getByText("1 key waits for the connection.").waitFor();
    await until("the session is closed", async () => JSON.parse(await scrier("sessions", "list", "--all", "--json")).some((s) => s.id === session && s.state === "closed"));
    path.mend();
    await page.getByRole("button", { name: "Open a new shell" }).waitFor();
    same(await page.locator("[role=tabpanel]:not([hidden]) .banner:not([hidden])").count(), 0, "banners over the end");
    return;
  }

  // A terminal takes the session over; the page says so, and takes it back.
  const cli = new Program("scrier", "ssh", "--attach", session);
  await cli.shows(/counted-2/);
  await page.getByRole("button", { name: "Take it back" }).waitFor();
  cli.type("echo from-$((40+2))\r");
  await cli.shows(/from-42/);
  await page.getByRole("button", { name: "Take it back" }).click();
  await t.connected();
  await t.shows(/from-42/);
  await cli.shows(/taken_over/);
  same(await cli.status, 255, "the exit status of the terminal that lost the session");
  same(await t.answer("echo back-$((1+1))"), "back-2", "the page's shell");

  // Closing the tab detaches; another comes back to the session where it was.
  await page.close();
  await until("the session is detached", async () => JSON.parse(await scrier("sessions", "list", "--json")).some((s) => s.id === session && !s.attached));
  const again = await context.newPage();
  await again.goto(path.origin + "/sessions");
  await again.getByRole("link", { name: "Attach to web1" }).click();
  const u = new Terminal(again);
  await u.connected();
  await u.shows(/back-2/);
  await again.close();

  // Nobody comes back: after the grace it is over.
  const [over] = await until("the session is closed", async () => {
    const found = JSON.parse(await scrier("sessions", "list", "--all", "--json")).filter((s) => s.id === session && s.state === "closed");
    return found.length > 0 && found;
  });
  same(over.reason, "viewer_lost", "the reason");
});
