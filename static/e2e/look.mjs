// What every page has to stand: axe's rules, light and dark. Pictures are in the script's folder.
import { mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { same, until, work } from "./story.mjs";

const axe = readFileSync(new URL("../node_modules/axe-core/axe.min.js", import.meta.url), "utf8");
const pictures = join(work, "pictures");

/** look fails with what axe finds, and leaves a picture of each. */
export async function look(page, name, ready) {
  await ready?.waitFor();
  mkdirSync(pictures, { recursive: true });
  await page.evaluate(axe);
  for (const colorScheme of ["light", "dark"]) {
    await page.emulateMedia({ colorScheme });
    let found;
    await until("", async () => {
      const { violations } = await page.evaluate(() => window.axe.run(document, { runOnly: { type: "tag", values: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"] }, resultTypes: ["violations"] }));
      found = violations.map((v) => `${v.id}: ${v.help}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 200)).join("; ")}`);
      return found.length === 0;
    }, 3000).catch(() => {});
    same(found, [], `violations in ${name}, ${colorScheme}`);
    await page.screenshot({ path: join(pictures, `files-${name}-${colorScheme}.png`) });
  }
  await page.emulateMedia({ colorScheme: "light" });
}
