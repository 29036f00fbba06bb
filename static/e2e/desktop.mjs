// A VNC desktop in the page, over whatever carries it:
//   desktop TRANSPORT PORT DISPLAY LOCKED-PORT PASSWORD
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { args, check, same, signIn, story, until, work } from "./story.mjs";
import { Desktop, ground } from "./desktop_screen.mjs";

const [transport, port, display, locked, password] = args;

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//);
  const context = await teller.context();
  if (transport === "WebSocket") await context.addInitScript(() => delete globalThis.WebTransport);
  const page = await context.newPage();
  await signIn(page);
  const d = await Desktop.open(page, { protocol: "vnc", port });
  await d.status(new RegExp(`Connected.*${transport}`));
  same(await d.size(), [1024, 768], "the desktop's size");
  for (const at of [[5, 762], [1018, 762], [500, 600]]) await d.shows(...at, ground);

  // Computed by the far shell: a file, and a colour.
  await d.focus(500, 500);
  same(await d.answer("echo $((6*7)) '<>&|{}@~'"), "42 <>&|{}@~", "the answer");
  await d.colour("#aa2233");
  await d.shows(500, 600, "#aa2233");

  // A window of another size shows all of it, smaller; what is pointed at is the same.
  await page.setViewportSize({ width: 700, height: 560 });
  await until("the picture is smaller", async () => (await d.box()).width < 700);
  await d.points(300, 500, display, "desk");
  await page.setViewportSize({ width: 1300, height: 1000 });
  await until("the picture is larger", async () => (await d.box()).width > 1000);
  await d.points(800, 300, display, "desk");

  // Text goes through the page's own field, both ways.
  await d.run(`printf '\\033]52;c;${Buffer.from("from the desktop: grüße").toString("base64")}\\007'`);
  await page.getByRole("button", { name: "Clipboard", exact: true }).click();
  const text = page.getByRole("textbox", { name: "Text" });
  await until("the desktop's clipboard", async () => (await text.inputValue()) === "from the desktop: grüße");
  let times = 0;
  // The X server takes a moment to have it, and may tell its own once more. xterm asks for it beside what
  // is typed, so the text may come behind Enter: whatever the order is, the shell is back at its prompt.
  await until("the paste", async () => {
    const pasted = `pasted-${transport}-${++times}`;
    await text.fill("to the desktop");
    await page.getByRole("button", { name: "Send to the desktop" }).click();
    await page.getByText("Sent. Paste it there as usual.").waitFor();
    await d.focus(500, 500);
    await d.run(`read -r pasted; echo "$pasted" >${join(work, pasted)}`);
    await page.keyboard.press("Shift+Insert");
    await page.keyboard.press("Enter");
    return until("", () => read(pasted) === "to the desktop\n", 2000).catch(() => false);
  });
  await page.getByRole("complementary", { name: "Clipboard" }).getByRole("button", { name: "Close" }).click();

  // A reload comes back to the session, with a whole picture.
  const session = d.session;
  await page.reload();
  await d.connected();
  same(d.session, session, "the session after a reload");
  await d.shows(500, 600, "#aa2233");
  await d.focus(500, 500);
  same(await d.answer("echo back-$((1+1))"), "back-2", "the answer after a reload");

  // Another window takes it over, and this one takes it back.
  const other = await context.newPage();
  await other.goto(page.url());
  const e = new Desktop(other);
  await e.connected();
  await page.getByText("The session continues elsewhere.").waitFor();
  await e.shows(500, 600, "#aa2233");
  await e.click(500, 500);
  await e.colour("#2233aa");
  await e.shows(500, 600, "#2233aa");
  await page.bringToFront();
  await page.getByRole("button", { name: "Take it back" }).click();
  await d.connected();
  await d.shows(500, 600, "#2233aa");
  await other.getByText("The session continues elsewhere.").waitFor();
  await other.close();

  // The person ends it.
  await d.click(500, 500);
  await d.colour(ground);
  await d.shows(500, 600, ground);
  await page.getByRole("button", { name: "End session" }).click();
  await page.getByRole("dialog").getByRole("button", { name: "End the session" }).click();
  await page.getByRole("button", { name: "Open it again" }).waitFor();

  // A password that the server asks for: wrong, then right.
  await d.go({ protocol: "vnc", port: locked });
  await page.getByRole("dialog").getByLabel("Password").fill("wrong");
  await page.getByRole("button", { name: "Go on" }).click();
  await page.getByText("That was not accepted. Try again.").waitFor();
  await page.getByRole("dialog").getByLabel("Password").fill(password);
  await page.getByRole("button", { name: "Go on" }).click();
  await d.shows(500, 600, ground);
  check(!teller.log.some((l) => l.includes(password)), "the password is in the browser's log");
});

function read(name) {
  try {
    return readFileSync(join(work, name), "utf8");
  } catch {
    return "";
  }
}
