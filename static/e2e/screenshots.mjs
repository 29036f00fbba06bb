// The pictures of docs/: the fleet, a terminal, the sessions, light and dark. They go to $SCREENSHOTS,
// or nowhere that stays; terminals are drawn by WebGL here, as most people have them.
import { mkdir, stat } from "node:fs/promises";
import { join } from "node:path";
import { madeUp } from "./made.mjs";
import { check, origin, signIn, story, work } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const folder = process.env.SCREENSHOTS || join(work, "images");
const most = 150_000; // bytes of a picture

await story(async (teller) => {
  await mkdir(folder, { recursive: true });
  const context = await teller.context({ viewport: { width: 1280, height: 640 }, reducedMotion: "reduce", ignoreHTTPSErrors: true });
  await context.addInitScript(() => location.protocol === "https:" && localStorage.setItem("scrier.reader", "1")); // else the text is only pixels
  const page = await context.newPage();
  await signIn(page);
  await madeUp(page, 24); // names as they are in real life
  await page.goto(origin + "/");
  await page.getByRole("row", { name: /db3/ }).waitFor();
  await shoot(page, "fleet");
  await page.unrouteAll({ behavior: "ignoreErrors" });

  const t = await Terminal.open(page);
  await t.run("clear; PS1='deploy@web1:~$ '");
  const commands = [
    "head -n 3 /etc/os-release",
    "df -h --output=size,used,pcent,target /",
    "ls -d --color=always /usr/* /bin/ls",
    "printf '\\033[31mred \\033[32mgreen \\033[33myellow \\033[34mblue \\033[35mmagenta \\033[36mcyan\\033[m gr\\303\\274\\303\\237e \\342\\206\\222 \\342\\234\\223\\n'",
  ];
  for (const [i, c] of commands.entries()) {
    await t.shows(new RegExp(`^(deploy@web1:~\\$ [^]*){${i}}deploy@web1:~\\$$`));
    await t.run(c);
  }
  await t.shows(/grüße → ✓\ndeploy@web1:~\$$/);
  await shoot(page, "terminal");

  await madeUp(page, 24);
  await page.goto(origin + "/sessions");
  await page.getByRole("row", { name: /alice.*ip-10/ }).first().waitFor();
  await shoot(page, "sessions");
}, { webgl: true });

async function shoot(page, name) {
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await page.evaluate(() => new Promise((done) => setTimeout(done, 300))); // a terminal's colours follow a moment later
    const path = join(folder, `${name}-${colorScheme}.png`);
    await page.screenshot({ path });
    const { size } = await stat(path);
    check(size < most, `${path} has ${size} bytes, at most ${most} are meant`);
  }
}
