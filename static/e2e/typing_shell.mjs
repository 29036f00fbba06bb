// What is typed in a shell: by keyboards of the world, input methods and pickers.
import { check, same, signIn, story, until } from "./story.mjs";
import { Terminal } from "./terminal.mjs";
import { computer, Typist } from "./typist.mjs";

await story(async (teller) => {
  teller.allow(/Failed to establish a connection to https:\/\/localhost.*\/wt\//);
  for (const platform of ["Linux x86_64", "MacIntel"]) {
    const context = await teller.context();
    await computer(context, platform);
    const page = await context.newPage();
    // A link signs in once: the second page has the first one's cookie.
    if (platform === "MacIntel") await context.addCookies(cookies);
    else {
      await signIn(page);
      var cookies = await context.cookies();
    }
    const t = await Terminal.open(page);
    const typist = await Typist.of(page);
    const mac = platform === "MacIntel";
    const tabs = page.getByRole("tab");
    const front = async () => (await tabs.evaluateAll((all) => all.findIndex((e) => e.getAttribute("aria-selected") === "true"))) + 1;
    const read = async (type) => {
      await t.run("clear; IFS= read -r line; echo \"<$line>\"");
      await t.shows(/^$/);
      await type();
      await t.key("Enter");
      const [, line] = await t.shows(/^<(.*)>$/m);
      return line;
    };

    await t.focus();
    await typist.all(read, { wide: true });

    // The page's own keys: a second tab, and back.
    const own = async (code, key) => {
      const mods = mac ? 3 : 1;
      if (mac) await typist.hold("ControlLeft", "Control", 2, true);
      await typist.hold("AltLeft", "Alt", mods, true);
      await typist.stroke(code, key, mods, false);
      await typist.hold("AltLeft", "Alt", mac ? 2 : 0, false);
      if (mac) await typist.hold("ControlLeft", "Control", 0, false);
    };
    await own("KeyT", "t");
    await until("a second tab", async () => (await tabs.count()) === 2);
    await t.ready();
    same(await front(), 2, "the tab in front");
    await own("Digit1", "1");
    await until("the first tab", async () => (await front()) === 1);
    if (mac) {
      // German, French, Spanish and Swedish: Option and a digit, and what else is near.
      same(await read(() => typist.option(["KeyL", "@"], ["Digit5", "["], ["Digit6", "]"], ["Digit7", "|"], ["Digit8", "{"], ["Digit9", "}"])), "@[]|{}", "a German Mac");
      same(await read(() => typist.option(["Digit2", "@"], ["Digit3", "#"], ["Digit1", "|"], ["KeyT", "†"], ["Digit0", "º"])), "@#|†º", "a Spanish Mac");
      same(await tabs.count(), 2, "tabs");
      same(await front(), 1, "the tab in front");
    }
    check(!(await page.locator("[role=toolbar] button:focus").count()), "the focus has gone to the toolbar");

    // For screen readers the terminal leaves the text in its field: nothing comes twice, and nothing is lost.
    await page.evaluate(() => localStorage.setItem("scrier.reader", "1"));
    await page.reload();
    await t.ready();
    await t.focus();
    await typist.all(read, { wide: true });
    same(await read(() => page.keyboard.type("abc")), "abc", "keys, with a screen reader");
    await page.evaluate(() => localStorage.removeItem("scrier.reader"));
    await context.close();
  }
});
