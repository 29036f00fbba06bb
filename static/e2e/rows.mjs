// The terminal's last row is whole in every window, and reversed text can be read.
import { check, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const windows = [[1366, 768], [1440, 900], [1024, 768], [390, 844]];
for (let height = 560; height < 760; height += 7) windows.push([1280, height]);

await story(async (teller) => {
  const page = await teller.page({ viewport: { width: 1280, height: 700 } });
  await signIn(page);
  const t = await Terminal.open(page);
  for (const [width, height] of windows) {
    await page.setViewportSize({ width, height });
    await until(`the size at ${width}×${height}`, async () => {
      await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 40)))));
      const [rows, host] = await page.evaluate(() => [".xterm-screen", ".screen"].map((s) => document.querySelector(`[role=tabpanel]:not([hidden]) ${s}`).getBoundingClientRect()).map((r) => [r.left, r.top, r.right, r.bottom]));
      return rows[3] <= host[3] && rows[2] <= host[2] && host[3] - rows[3] < 24; // whole, and as many as there is room for
    }, 5000).catch(async () => {
      const [rows, host] = await page.evaluate(() => [".xterm-screen", ".screen"].map((s) => document.querySelector(`[role=tabpanel]:not([hidden]) ${s}`).getBoundingClientRect().bottom));
      check(false, `at ${width}×${height} the rows end at ${rows}, the room for them at ${host}`);
    });
  }
  await page.setViewportSize({ width: 1280, height: 700 });
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    await t.run("clear; printf '\\033[7mreversed\\033[m \\n'");
    await t.shows(/^reversed/m);
    const contrast = await until("the colours", () => page.evaluate(() => {
      const cell = [...document.querySelectorAll(".xterm-rows span")].find((s) => s.textContent.startsWith("reversed"));
      if (!cell) return undefined;
      const { color, backgroundColor } = getComputedStyle(cell);
      const light = (c) => {
        const [r, g, b] = c.match(/[\d.]+/g).map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
      };
      const [a, b] = [light(color), light(backgroundColor)].sort((x, y) => y - x);
      return (a + 0.05) / (b + 0.05);
    }));
    check(contrast > 12, `reversed text has a contrast of ${contrast.toFixed(1)} to 1 (${colorScheme})`);
  }

  // Marks of a search go away with it, however fast it was typed.
  await t.run("clear; seq 1 20");
  await t.shows(/^20$/m);
  await page.keyboard.press("Control+Shift+F");
  await page.keyboard.type("12345", { delay: 0 });
  for (let i = 0; i < 4; i++) await page.keyboard.press("Backspace");
  await page.getByText(/^\d+ of \d+$/).waitFor();
  await until("marks", async () => (await page.locator(".xterm-find-result-decoration").count()) > 0);
  await page.keyboard.press("Escape");
  await until("the marks to go away", async () => (await page.locator(".xterm-find-result-decoration, .xterm-find-active-result-decoration").count()) === 0);

  // Printing gives all text, not a screenful.
  await t.run("clear; seq 1 300");
  await t.shows(/^300$/m);
  const paper = await page.evaluate(() => {
    dispatchEvent(new Event("beforeprint"));
    const text = document.querySelector("body > .printed").textContent;
    dispatchEvent(new Event("afterprint"));
    return text + document.querySelectorAll("body > .printed").length;
  });
  check(/\n1\n2\n/.test(paper) && /\n300\n/.test(paper) && paper.endsWith("0"), `what is printed is ${paper.slice(0, 200)}`);

  // The bell of the tab in front is seen.
  await t.run("printf '\\a'");
  await page.getByRole("tab", { name: /\(bell\)/ }).waitFor();
  await page.locator(".tabpanel.rang").waitFor({ state: "detached" });

  // On a phone: a bar of keys, and two fingers for the size of the text.
  const context = await teller.context({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true });
  await context.addCookies(await page.context().cookies());
  const small = await context.newPage();
  const p = await Terminal.open(small);
  const bar = small.getByRole("toolbar", { name: "Keys" });
  for (const key of ["Esc", "Tab", "Ctrl", "Alt", "Left", "Up", "Down", "Right", "Slash", "Pipe"]) {
    const box = await bar.getByRole("button", { name: key, exact: true }).boundingBox();
    check(box && box.x >= 0 && box.x + box.width <= 390 && box.height >= 36, `the key ${key} is at ${JSON.stringify(box)}`);
  }
  await p.run("clear; echo cat-$((1+1)); cat -v");
  await p.shows(/^cat-2$/m);
  for (const key of ["Slash", "Pipe"]) await bar.getByRole("button", { name: key, exact: true }).tap();
  await bar.getByRole("button", { name: "Alt", exact: true }).tap();
  await small.keyboard.type("x");
  await bar.getByRole("button", { name: "Esc", exact: true }).tap();
  await small.keyboard.press("Enter");
  await p.shows(/\/\|\^\[x\^\[/);
  await bar.getByRole("button", { name: "Ctrl", exact: true }).tap();
  await small.keyboard.type("d");
  await p.shows(/[$#]$/);
  const columns = async () => Number((await small.evaluate(() => document.querySelector("[role=tabpanel]:not([hidden]) .xterm-rows")?.firstElementChild?.getBoundingClientRect().height)) ?? 0);
  const before = await columns();
  const cdp = await context.newCDPSession(small);
  const two = (apart) => [{ x: 195 - apart, y: 300 }, { x: 195 + apart, y: 300 }];
  await cdp.send("Input.dispatchTouchEvent", { type: "touchStart", touchPoints: two(30) });
  for (let apart = 40; apart <= 110; apart += 10) await cdp.send("Input.dispatchTouchEvent", { type: "touchMove", touchPoints: two(apart) });
  await cdp.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
  await until("larger text", async () => (await columns()) > before + 3);
});
