// An RDP desktop in the page:
//   desktop_rdp PORT LOGIN PASSWORD HOME
import { readdirSync, readFileSync } from "node:fs";
import { args, check, same, signIn, story, until } from "./story.mjs";
import { Desktop, ground } from "./desktop_screen.mjs";

const [port, login, password, home] = args;
const loginTime = 60_000; // ms that a first login may take until there is a desktop

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//, /status of (400|502|409)/);
  const page = await teller.page({ viewport: { width: 1000, height: 700 } });
  await signIn(page);
  const d = new Desktop(page, home);
  await d.go({ protocol: "rdp", port });

  // The server has no NLA, and says so.
  const form = page.getByRole("form", { name: /Remote desktop on/ });
  const secure = async (how) => {
    const choice = form.getByLabel("Security");
    if (!(await choice.isVisible())) await form.getByText("More", { exact: true }).click();
    await choice.selectOption(how);
  };
  await form.getByLabel("User name").fill(login);
  await form.getByLabel("Password").fill(password);
  await secure("nla");
  await form.getByRole("button", { name: "Connect" }).click();
  await page.getByText("The desktop server does not speak the security that was asked for", { exact: false }).waitFor();

  await form.getByLabel("Password").fill(password);
  await secure("any");
  await form.getByRole("button", { name: "Connect" }).click();
  await d.connected(loginTime);
  const [width, height] = await d.size();
  const room = await page.locator("[data-desktop]").evaluate((e) => [e.clientWidth & ~1, e.clientHeight]);
  same([width, height], room, "the desktop's size");
  await d.shows(width - 20, height - 20, ground, { near: 8, time: loginTime });
  await d.focus(400, 400);
  same(await d.answer("id -un; echo $((6*7)) '<>&|{}@~'"), `${login}\n42 <>&|{}@~`, "the answer");
  await d.colour("#aa2233");
  await d.shows(width - 20, height - 20, "#aa2233", { near: 8 });

  // A reload comes back.
  const session = d.session;
  await page.reload();
  await d.connected();
  same(d.session, session, "the session after a reload");
  await d.shows(width - 20, height - 20, "#aa2233", { near: 8 });

  // The desktop follows the window.
  await page.setViewportSize({ width: 1240, height: 800 });
  await until("the desktop's size follows the window", async () => (await d.size())[0] > width);
  const [wider, higher] = await d.size();
  await d.shows(wider - 20, higher - 20, "#aa2233", { near: 8 });
  await d.focus(400, 400);
  same(await d.answer("echo still-$((1+1))"), "still-2", "the answer in another size");

  // Whoever logs out there is done here.
  await d.run("exit");
  await page.getByText("The desktop has ended.").waitFor();
  await page.getByText("Somebody logged off there", { exact: false }).waitFor();

  // The server dies. guacd 1.6.0 does not notice: the relay does. 1.6.1 takes it for a log-off.
  await page.getByRole("button", { name: "Open it again" }).click();
  await form.getByLabel("User name").fill(login);
  await form.getByLabel("Password").fill(password);
  await form.getByRole("button", { name: "Connect" }).click();
  await d.connected(loginTime);
  await d.shows(200, 200, ground, { near: 8, time: loginTime });
  for (const pid of programs("xrdp")) process.kill(pid, "SIGKILL");
  await page.getByText(/The machine's desktop server broke off or refused|The desktop has ended/).waitFor({ timeout: 20_000 });
  await until("guacd's process for the desktop ends", () => programs("guacd").length === 1);
  check(!teller.log.some((l) => l.includes(password)), "the password is in the browser's log");
  check(!(await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage }))).includes(password), "the password is stored");
});

// programs are the processes of a program.
function programs(name) {
  return readdirSync("/proc").filter((n) => /^\d+$/.test(n)).filter((n) => {
    try {
      return readFileSync(`/proc/${n}/comm`, "utf8").trim() === name;
    } catch {
      return false;
    }
  }).map(Number);
}
