// Every page and dialog, light and dark: no violation of WCAG 2 A and AA, nothing out of reach in
// windows of any width. Pictures are in the script's folder.
import { readFileSync } from "node:fs";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { check, origin, same, sign, signIn, story, until, work } from "./story.mjs";
import { Terminal } from "./terminal.mjs";

const axe = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
const sizes = [[400, 800], [1440, 900], [3840, 2160]];
const widths = [320, 400, 700, 800, 950, 1100, 1250, 1440];
const found = []; // violations
const pictures = join(work, "pictures");

await story(async (teller) => {
  teller.allow(/status of 401 .*\/api\/v1\/self/, /status of 403 .*\/links/, /status of 404 .*\/nowhere/);
  await mkdir(pictures);
  const page = await teller.page({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce" });
  await page.goto(origin + "/signin");
  await page.getByRole("heading", { name: "Sign in" }).waitFor();
  await look(page, "signin");
  await signIn(page);

  const main = async (path, ready) => {
    await page.goto(origin + path);
    await ready.first().waitFor();
  };
  await main("/", page.getByRole("row", { name: /Online.*web1/ }));
  await look(page, "fleet");
  for (const width of widths) {
    await page.setViewportSize({ width, height: 700 });
    await page.getByRole("link", { name: "Shell on web1", exact: true }).click({ trial: true, timeout: 5000 }).catch(() => check(false, `at ${width} pixels nobody can click on "Shell"`));
    await wide(page, `the fleet at ${width}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.getByRole("link", { name: "Details of web1" }).click();
  await look(page, "envoy", page.getByRole("dialog"));
  await page.keyboard.press("Escape");
  await page.keyboard.press("?");
  await look(page, "keys", page.getByRole("dialog"));

  await main("/", page.getByRole("row", { name: /Online.*web1/ }));
  const t = await Terminal.open(page);
  await t.run("ls -l --color=always /; printf '\\033[31mred \\033[32mgreen \\033[34mblue \\033[90mgrey\\033[m\\n'");
  await t.shows(/red green blue grey\n/);
  await look(page, "terminal");
  await t.focus();
  await t.paste("echo one\necho two\n");
  await look(page, "paste", page.getByRole("dialog"));
  await page.getByRole("dialog").getByRole("button", { name: "Cancel" }).click();
  await page.setViewportSize({ width: 400, height: 800 });
  await wide(page, "the terminal at 400");
  await page.setViewportSize({ width: 1440, height: 900 });

  await main("/sessions", page.getByRole("row", { name: /alice.*web1/ }));
  await look(page, "sessions");
  for (const width of widths) {
    await page.setViewportSize({ width, height: 700 });
    await page.getByRole("button", { name: "More on the session of alice on web1" }).click({ trial: true, timeout: 5000 }).catch(() => check(false, `at ${width} pixels nobody can open the session's menu`));
    await wide(page, `the sessions at ${width}`);
  }
  await page.setViewportSize({ width: 1440, height: 900 });
  await page.getByRole("link", { name: "Details of the session of alice on web1" }).first().click();
  await look(page, "session", page.getByRole("dialog"));
  await page.getByRole("dialog").getByRole("button", { name: "More on the session of alice on web1" }).click();
  await look(page, "menu", page.getByRole("menu"));
  await page.getByRole("menuitem", { name: "End…" }).click();
  await look(page, "ask", page.getByRole("dialog").last());
  await page.getByRole("button", { name: "End it" }).click();

  await main("/operators", page.getByRole("row", { name: /alice/ }));
  await look(page, "operators");
  await page.getByRole("button", { name: "New operator" }).click();
  await look(page, "operator", page.getByRole("dialog"));
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Sign-in link for alice" }).click();
  await look(page, "sign", page.getByRole("dialog", { name: "Sign this change" }));
  await sign(page);
  await look(page, "link", page.getByRole("dialog"));

  await main("/enrol", page.getByRole("heading", { name: /Enrol/ }));
  await look(page, "enrol");
  await main("/audit", page.getByRole("row", { name: /operator/ }));
  await look(page, "audit");
  await page.getByRole("button", { name: "Verify" }).click();
  await page.getByText("The log is whole").waitFor();
  await look(page, "verified");
  await main("/account", page.getByRole("table"));
  await look(page, "account");
  await main("/nowhere", page.getByRole("heading", { name: "There is no such page" }));
  await look(page, "nowhere");
  same(found, [], "violations");
});

async function look(page, name, ready, schemes = ["light", "dark"]) {
  await ready?.waitFor();
  await page.evaluate(axe);
  for (const colorScheme of schemes) {
    await page.emulateMedia({ colorScheme });
    // Nothing but colours depends on the scheme.
    const only = colorScheme === "light" ? { type: "tag", values: rules } : { type: "rule", values: ["color-contrast"] };
    let violations;
    // The colours of a terminal change a moment after those of the page around it.
    await until("", async () => {
      ({ violations } = await page.evaluate((runOnly) => window.axe.run(document, { runOnly, resultTypes: ["violations"] }), only));
      return violations.length === 0;
    }, 3000).catch(() => {});
    for (const v of violations) found.push(`${name}, ${colorScheme}: ${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => `${n.html.slice(0, 200)} ${n.failureSummary}`).join("; ")}`);
    for (const [width, height] of colorScheme === "light" ? sizes : sizes.slice(1, 2)) {
      await page.setViewportSize({ width, height });
      await page.screenshot({ path: join(pictures, `${name}-${colorScheme}-${width}.png`) });
    }
    await page.setViewportSize({ width: 1440, height: 900 });
  }
  await page.emulateMedia({ colorScheme: "light" });
}

// wide fails when the page is wider than its window.
async function wide(page, what) {
  const [has, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
  check(has <= room, `${what} is ${has} pixels wide, in a window of ${room}`);
}
