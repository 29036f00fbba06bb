// What is typed on a desktop: by keyboards of the world, input methods and pickers:
//   typing_desktop vnc|rdp PORT [LOGIN PASSWORD HOME]
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { args, same, signIn, story, until, work } from "./story.mjs";
import { Desktop, ground } from "./desktop_screen.mjs";
import { computer, Typist } from "./typist.mjs";

const [protocol, port, login, password, home] = args;
const loginTime = 60_000; // ms that a first login may take until there is a desktop

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//);
  const context = await teller.context();
  await computer(context, protocol === "vnc" ? "MacIntel" : "Win32");
  const page = await context.newPage();
  await signIn(page);
  const d = new Desktop(page, home ?? work);
  await d.go({ protocol, port });
  if (protocol === "rdp") {
    const form = page.getByRole("form", { name: /Remote desktop on/ });
    await form.getByLabel("User name").fill(login);
    await form.getByLabel("Password").fill(password);
    const layout = form.getByLabel("Keyboard");
    if (!(await layout.isVisible())) await form.getByText("More", { exact: true }).click();
    await layout.selectOption("de-de-qwertz");
    await form.getByRole("button", { name: "Connect" }).click();
  }
  await d.connected(loginTime);
  const [width, height] = await d.size();
  await d.shows(width - 20, height - 20, ground, { near: 8, time: loginTime });
  await d.focus(400, 400);
  const typist = await Typist.of(page);
  let n = 0;
  const read = async (type) => {
    const file = join(home ?? work, `typed-${protocol}-${++n}`);
    await d.run(`rm -f ${file}; echo >${file}.began; IFS= read -r line; printf '%s\\n' "$line" >${file}`);
    await until("the shell reads", () => content(`${file}.began`) !== "");
    await type();
    await page.keyboard.press("Enter");
    await until("the line", () => content(file).endsWith("\n"));
    return content(file).slice(0, -1);
  };
  await typist.all(read, { wide: protocol === "vnc" });

  if (protocol === "vnc") {
    same(await read(() => typist.option(["KeyL", "@"], ["Digit5", "["], ["Digit6", "]"], ["Digit7", "|"], ["Digit8", "{"], ["Digit9", "}"])), "@[]|{}", "a German Mac");
  } else {
    same(await read(async () => {
      // Windows tells Ctrl and Alt for AltGr, and Chromium takes them back with the character.
      await typist.hold("ControlLeft", "Control", 2, true);
      await typist.hold("AltRight", "AltGraph", 0, true);
      for (const [code, key] of [["KeyQ", "@"], ["Digit7", "{"], ["Digit8", "["], ["Digit9", "]"], ["Digit0", "}"], ["Minus", "\\"]]) await typist.stroke(code, key);
      await typist.hold("ControlLeft", "Control", 0, false);
      await typist.hold("AltRight", "AltGraph", 0, false);
    }), "@{[]}\\", "German Windows");
  }
  // Backspace and Enter of a phone's keyboard, which are no keys.
  same(await read(async () => {
    await typist.insert("abx");
    await page.evaluate(() => {
      const field = document.activeElement;
      field.dispatchEvent(new InputEvent("beforeinput", { inputType: "deleteContentBackward", bubbles: true, cancelable: true }));
      return field.tagName;
    });
    await typist.insert("c");
  }), "abc", "Backspace of a phone");
  // The way out, and back: no layout's key, and no phone's keyboard opens by itself.
  const field = page.locator("textarea.sink");
  const focused = () => field.evaluate((e) => e === document.activeElement);
  for (const want of [false, true]) {
    for (const k of ["Control", "Alt", "Shift"]) await page.keyboard.down(k);
    for (const k of ["Shift", "Alt", "Control"]) await page.keyboard.up(k);
    same(await focused(), want, "the desktop has the focus");
  }
  same(await field.evaluate((e) => e.inputMode), "none", "the field's keyboard");
  await page.getByRole("button", { name: "Keys on the screen" }).click();
  await page.getByRole("button", { name: "Keyboard", exact: true }).click();
  same([await focused(), await field.evaluate((e) => e.inputMode)], [true, "text"], "the field's keyboard when it is asked for");
  same(await read(() => page.keyboard.type("end")), "end", "keys at the end");
});

function content(file) {
  try {
    return readFileSync(file, protocol === "rdp" ? "latin1" : "utf8"); // xrdp's shell has no locale
  } catch {
    return "";
  }
}
