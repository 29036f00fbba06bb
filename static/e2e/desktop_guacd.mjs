// guacd dies, or stops, while it draws a desktop:
//   desktop_guacd PORT
import { readdirSync, readFileSync } from "node:fs";
import { args, check, signIn, story } from "./story.mjs";
import { Desktop, ground } from "./desktop_screen.mjs";

const [port] = args;

await story(async (teller) => {
  const page = await teller.page();
  await signIn(page);
  const d = await Desktop.open(page, { protocol: "vnc", port });
  for (const signal of ["SIGSTOP", "SIGKILL"]) {
    await d.shows(500, 600, ground);
    const drawers = children(Number(process.env.GUACD_PID));
    check(drawers.length > 0, "guacd has no process for the desktop");
    for (const pid of drawers) process.kill(pid, signal);
    await page.getByText("Guacd, which draws remote desktops for the relay, does not answer.").waitFor();
    await page.getByText("Run guacd beside the relay", { exact: false }).waitFor();
    if (signal === "SIGSTOP") for (const pid of drawers) process.kill(pid, "SIGKILL");
    await page.getByRole("button", { name: "Open it again" }).click();
    await d.connected();
  }
  await d.shows(500, 600, ground);
  await page.getByRole("button", { name: "End session" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End the session" }).click();
  await page.getByRole("button", { name: "Open it again" }).waitFor();
});

// children are the processes that another made; one for each desktop, with guacd.
function children(parent) {
  return readdirSync("/proc").filter((n) => /^\d+$/.test(n)).filter((n) => {
    try {
      return Number(readFileSync(`/proc/${n}/stat`, "utf8").replace(/^.*\) . /s, "").split(" ")[0]) === parent;
    } catch {
      return false;
    }
  }).map(Number);
}
