// The lists with made-up fleets of real-life names, in a window of any width, light and dark: nothing is cut while
// there is room beside it, and no last row is. Pictures are in the script's folder.
//   widths WIDTH COUNT…   of the window, and how many envoys there are
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { madeUp } from "./made.mjs";
import { args, check, origin, same, signIn, story, until, work } from "./story.mjs";

const heights = { 1440: 900, 1024: 768, 390: 844 };
const spare = 26; // pixels: what a column keeps for the mark of the order, and for times that grow
const pictures = join(work, "pictures");

const [width, ...counts] = args.map(Number);

await story(async (teller) => {
  await mkdir(pictures, { recursive: true });
  const context = await teller.context({ viewport: { width: 1440, height: 900 }, reducedMotion: "reduce", ignoreHTTPSErrors: true });
  const page = await context.newPage();
  await signIn(page);
  await page.setViewportSize({ width, height: heights[width] ?? 800 });
  for (const count of counts) {
    await page.unrouteAll({ behavior: "ignoreErrors" });
    await madeUp(page, count);
    for (const path of ["/", "/sessions", "/operators", "/audit"]) {
      await page.goto(origin + path);
      const list = page.getByRole("grid");
      await list.or(page.locator(".panel.empty")).first().waitFor();
      const what = `${path} with ${count} envoys at ${width}`;
      if (await list.count()) {
        if (path === "/") await until(`${what}: all of them`, async () => Number(await list.getAttribute("aria-rowcount")) > count);
        await until(`${what}: rows`, () => page.locator(".vbody > .vrow").count());
        await whole(page, what, width < 700, count <= 1000);
      }
      if (await list.count()) {
        // On paper all rows are there, and the bars are not.
        const printed = await page.evaluate(() => {
          dispatchEvent(new Event("beforeprint"));
          const n = document.querySelectorAll(".vbody > .vrow").length;
          dispatchEvent(new Event("afterprint"));
          return n;
        });
        same(printed, Math.min(2000, Number(await list.getAttribute("aria-rowcount")) - 1), `${what}: printed rows`);
      }
      if (path === "/audit" && count > 0 && width >= 1024) {
        // A column sorts what is loaded, and the page says so while there is more.
        const note = page.getByText("only these are sorted, and not the older ones");
        same(await note.count(), 0, `${what}: the note in the log's own order`);
        await list.getByRole("button", { name: "Type" }).click();
        await note.waitFor();
      }
      const [has, room] = await page.evaluate(() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]);
      check(has <= room, `${what}: the page is ${has} pixels wide, in a window of ${room}`);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        await page.screenshot({ path: join(pictures, `${path.slice(1) || "fleet"}-${count}-${width}-${colorScheme}.png`) });
      }
    }
  }
});

// whole goes through the list, and fails with what is cut for no reason.
async function whole(page, what, cards, through) {
  const columns = {}; // of each: its width, what its widest cell needs, and one that is cut
  for (let at = 0, last = -1; at !== last; last = at, at = await page.evaluate(scroll)) {
    await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))));
    let seen = await page.evaluate(cards ? lookAtCards : lookAtCells);
    for (let more = 20; cards && more > 0 && seen.length > 0; more--) { // on a busy machine the layout comes late
      await page.waitForTimeout(100);
      seen = await page.evaluate(lookAtCards);
    }
    if (cards) same(seen, [], `${what}: cut`);
    else {
      for (const [name, c] of Object.entries(seen)) {
        const old = (columns[name] ??= c);
        Object.assign(old, { needs: Math.max(old.needs, c.needs), cut: old.cut ?? c.cut });
      }
    }
    if (!through) break; // too many to go through
  }
  await page.evaluate(() => {
    const g = document.querySelector(".vgrid");
    g.scrollTop = g.scrollHeight;
  });
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 30)))));
  const [bottom, end, windowEnd] = await page.evaluate(() => {
    const rows = [...document.querySelectorAll(".vbody > .vrow")].map((r) => r.getBoundingClientRect().bottom);
    return [Math.max(...rows), document.querySelector(".vgrid").getBoundingClientRect().bottom, innerHeight];
  });
  check(bottom <= end + 1 && end <= windowEnd, `${what}: the last row ends at ${bottom}, the list at ${end}, the window at ${windowEnd}`);
  if (cards || !through) return;
  const cut = Object.entries(columns).find(([, c]) => c.cut);
  const free = Object.entries(columns).filter(([name, c]) => name !== cut?.[0] && c.width - c.needs > spare);
  check(!cut || free.length === 0, `${what}: ${cut?.[0]} is cut (${cut?.[1].cut}), and there is room in ${free.map(([name, c]) => `${name} (${Math.round(c.width - c.needs)} pixels)`)}`);
  const host = columns.hostname ?? columns.envoy;
  if (host?.cut) check(host.width >= 140, `${what}: names have only ${host.width} pixels`);
}

function scroll() {
  const g = document.querySelector(".vgrid");
  g.scrollTop += g.clientHeight - 100;
  return g.scrollTop;
}

// In the page: what each column has and needs, of the rows that are there; what is cut of whole rows at the window's edge.
function lookAtCells() {
  const out = {};
  const name = (cell) => /c-(\w+)/.exec(cell.className)[1];
  for (const cell of document.querySelectorAll(".vgrid .vcell")) {
    const head = cell.getAttribute("role") === "columnheader";
    const range = document.createRange();
    range.selectNodeContents(cell);
    const boxes = [...cell.querySelectorAll("*")].filter((e) => !e.closest(".visually-hidden")).map((e) => e.getBoundingClientRect()).concat([...range.getClientRects()]).filter((r) => r.width > 0);
    const inner = boxes.length ? Math.max(...boxes.map((r) => r.right)) - Math.min(...boxes.map((r) => r.left)) : 0;
    const parts = [...cell.querySelectorAll(".clip, .chip > span")];
    const cut = head ? undefined : parts.find((p) => p.scrollWidth > p.clientWidth + 1);
    const left = head ? undefined : cell.classList.contains("c-labels") && [...cell.querySelectorAll(".small")].find((s) => /^\+/.test(s.textContent));
    const width = cell.getBoundingClientRect().width;
    const c = (out[name(cell)] ??= { width, needs: 0 });
    c.needs = Math.max(c.needs, cut || left ? width : inner);
    if (cut || left) c.cut ??= (cut || left).textContent;
  }
  return out;
}

// In the page: what is cut on the cards, though there is room; names have all the lines they need.
function lookAtCards() {
  const faults = [];
  for (const card of document.querySelectorAll(".vcard")) {
    if (card.scrollHeight > card.clientHeight + 1) faults.push(`a card is ${card.scrollHeight} high and has ${card.clientHeight}: ${card.textContent}`);
    for (const name of card.querySelectorAll(".name")) if (name.scrollHeight > name.clientHeight + 1 || name.scrollWidth > name.clientWidth + 1) faults.push(`the name ${name.textContent}`);
    for (const line of card.querySelectorAll(".line")) {
      const used = [...line.children].reduce((sum, c) => sum + c.getBoundingClientRect().width + 6, -6);
      const cut = [...line.querySelectorAll(".clip, .chip > span")].find((p) => p.scrollWidth > p.clientWidth + 1);
      if (cut && line.clientWidth - used > 8) faults.push(`${cut.textContent}, with ${line.clientWidth - used} pixels free`);
      if (line.scrollWidth > line.clientWidth + 1) faults.push(`a line is too long: ${line.textContent}`);
    }
  }
  return faults;
}
