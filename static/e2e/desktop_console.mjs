// Somebody's screen in the page:
//   desktop_console works|refused|ended LOGIN [HOME]
import { execFile } from "node:child_process";
import { args, same, signIn, story } from "./story.mjs";
import { Desktop, ground } from "./desktop_screen.mjs";

const [how, login, home] = args;

await story(async (teller) => {
  teller.allow(/status of 4\d\d/);
  const page = await teller.page();
  await signIn(page);
  const d = new Desktop(page, home);
  await d.go({ protocol: "vnc", console: "1" });
  const form = page.getByRole("form", { name: /screen/ });
  await form.getByLabel("Why").fill("the printer");
  await form.getByRole("button", { name: /^Ask / }).click();
  if (how === "refused") {
    await page.getByText("The user at the screen said no", { exact: false }).waitFor();
    return;
  }
  await d.connected();
  same(await d.size(), [1280, 720], "the screen's size");
  await d.shows(640, 600, ground);
  await page.getByText(`${login}'s screen at web1`, { exact: false }).first().waitFor();
  if (how === "ended") {
    // The user's own processes go away with what they are asked to: here the notice of who looks.
    await new Promise((done, failed) => execFile("pkill", ["-u", login, "-x", "swaynag"], (err) => (err ? failed(err) : done())));
    await page.getByText("The user at the screen ended the sharing", { exact: false }).waitFor();
    return;
  }
  // The notice has the keyboard until somebody clicks elsewhere.
  await d.focus(500, 500);
  same(await d.answer("echo $((6*7)) $(id -un)"), `42 ${login}`, "the answer");
  await d.colour("#aa2233");
  await d.shows(640, 600, "#aa2233");
  await page.getByRole("button", { name: "End session" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End the session" }).click();
  await page.getByRole("button", { name: "Ask again" }).waitFor();
});
