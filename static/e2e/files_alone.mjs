// Files of a machine by themselves: what is on its way outlives the connection, and the session.
//   files_alone HOME
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { look } from "./look.mjs";
import { arrived, ours, Pane, parts, transferTime, tree } from "./pane.mjs";
import { Path } from "./path.mjs";
import { args, check, link, origin, same, scrier, signIn, story, until, work } from "./story.mjs";

const [home] = args;
const large = 40_000_000; // bytes: some pieces

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//, /net::ERR_/, /WebSocket connection .* failed/, /WebTransport/, /status of 404/, /status of 409/);
  const path = await Path.open(process.env.RELAY);
  const page = await teller.page({ viewport: { width: 1200, height: 760 }, reducedMotion: "reduce" });
  await signIn(page, link.replace(origin, path.origin));
  writeFileSync(join(home, "hello.txt"), "hello\n");

  // From the fleet: a session of their own, which a reload comes back to.
  await page.getByRole("button", { name: "More on web1" }).click();
  await page.getByRole("menuitem", { name: "Browse files" }).click();
  const pane = new Pane(page);
  await pane.has("hello.txt");
  await look(page, "alone");
  await page.setViewportSize({ width: 390, height: 844 });
  await look(page, "alone-390");
  await page.setViewportSize({ width: 1200, height: 760 });
  const session = new URL(page.url()).searchParams.get("session");
  check(session, "there is no session");
  await pane.tool("New folder").click();
  await page.keyboard.type("sub");
  await page.keyboard.press("Enter");
  await until("the new folder", async () => (await pane.active()) === "sub");
  await page.keyboard.press("Enter");
  await page.getByText("This folder is empty.").waitFor();
  await page.reload();
  await page.getByText("This folder is empty.").waitFor();
  same(new URL(page.url()).searchParams.get("session"), session, "the session after a reload");
  const list = await page.context().newPage();
  await list.goto(path.origin + "/sessions");
  const row = list.getByRole("row", { name: /Attached.*alice.*web1/ });
  check(/view=files/.test(await row.getByRole("link", { name: "Attach to web1" }).getAttribute("href")), "the list leads to a terminal");
  await list.close();

  // Many small files: all arrive.
  for (let n = 0; n < 300; n++) ours(`many/d${n % 10}/f${n}`, `file ${n}`);
  await pane.drop([join(work, "ours", "many")]);
  await pane.uploaded();
  same(await tree(join(home, "sub", "many")), await tree(join(work, "ours", "many")), "small files");
  await pane.dismiss();

  // The connection is lost in the middle: the file goes on where it was, and nothing has its name before.
  const sent = [];
  page.on("request", (r) => r.method() === "PUT" && sent.push(Number(new URL(r.url()).searchParams.get("offset"))));
  const twice = ours("twice.bin", large);
  await pane.drop([twice]);
  await until("some of it is there", () => sent.some((n) => n > large / 4), transferTime);
  path.cut();
  await pane.transfers.getByText(/^Waiting for the connection/).waitFor();
  check(!existsSync(join(home, "sub", "twice.bin")), "a file that is not whole has its name");
  path.mend();
  await page.evaluate(() => dispatchEvent(new Event("online")));
  await pane.uploaded();
  await arrived(join(home, "sub", "twice.bin"), twice);
  same(sent.filter((n) => n === 0).length, 1, "how often it began");
  await pane.dismiss();

  // The browser asks before it closes the page; what is given up leaves nothing.
  await pane.drop([ours("huge.bin", 5 * large)]);
  await until("some of it is there", () => parts(join(home, "sub")).length > 0);
  const asked = new Promise((done) => page.once("dialog", (d) => void d.dismiss().then(() => done(d.type()))));
  await page.close({ runBeforeUnload: true });
  same(await asked, "beforeunload", "what the browser asks");
  await pane.transfers.getByRole("button", { name: "Cancel all uploads" }).click();
  await pane.uploaded("0 of 1 uploaded, 1 cancelled.");
  await until("its part is removed", () => parts(join(home, "sub")).length === 0);
  check(!existsSync(join(home, "sub", "huge.bin")), "what was cancelled is there");
  await pane.dismiss();

  // The session's end is told, and another one goes on with what was on its way.
  const third = ours("third.bin", large);
  sent.length = 0;
  await pane.drop([third]);
  await until("some of it is there", () => sent.some((n) => n > large / 8), transferTime);
  await scrier("sessions", "kill", session, "--yes");
  await page.getByText("What is on its way goes on when it is open again.").waitFor();
  await look(page, "ended");
  await page.getByRole("button", { name: "Open it again" }).click();
  await pane.uploaded();
  await arrived(join(home, "sub", "third.bin"), third);
  same(sent.filter((n) => n === 0).length, 1, "how often it began, over two sessions");
  same(parts(join(home, "sub")), [], "parts that are left");
});
