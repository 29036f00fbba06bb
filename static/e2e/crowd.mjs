// Ten thousand envoys: the page asks for them by pages, shows only the rows that are seen, finds one
// while it is typed, and opens it by Enter. No relay of a test has so many; the list that it answers
// with is made up, page by page, as the relay pages.
import { check, same, signIn, story, until } from "./story.mjs";

const crowd = 10_000;
const id = (n) => `00000000-0000-4000-8000-${String(n).padStart(12, "0")}`;

function envoy(n) {
  return {
    id: id(n), hostname: `node-${String(n).padStart(5, "0")}`, state: n % 3 ? "online" : "offline", last_seen: new Date().toISOString(), version: "devel",
    enrolled: "2026-01-01T00:00:00Z", labels: { env: n % 2 ? "prod" : "test" }, host_keys: [], warnings: [],
    facts: { hostname: `node-${n}`, os: "Debian GNU/Linux 12 (bookworm)", arch: "amd64", version: "devel", uptime: 1, load: 1, disk: 1, users: [], ssh: true, clock_offset_ms: 0 },
  };
}

await story(async (teller) => {
  teller.allow(/status of 404/); // the relay knows none of the made-up envoys, one of which is opened at the end
  const page = await teller.page();
  let asked = 0;
  await page.route(/\/api\/v1\/envoys(\?.*)?$/, async (route) => {
    asked++;
    const query = new URL(route.request().url()).searchParams;
    const limit = Number(query.get("limit") ?? crowd);
    const after = query.get("after");
    const first = after ? Number(after.slice(-12)) + 1 : 0;
    const rows = Array.from({ length: Math.min(limit, crowd - first) }, (_, i) => envoy(first + i));
    const headers = { "content-type": "application/json" };
    if (first + rows.length < crowd) headers.link = `</api/v1/envoys?limit=${limit}&after=${id(first + rows.length - 1)}>; rel="next"`;
    await route.fulfill({ headers, body: JSON.stringify(rows) });
  });
  await signIn(page);
  const grid = page.getByRole("grid").first();
  await until("all envoys", async () => Number(await grid.getAttribute("aria-rowcount")) >= crowd);
  check(asked >= 10, `the list came in ${asked} pages`);
  const rows = () => grid.getByRole("row").count();
  check((await rows()) < 150, `${await rows()} rows stand in the document`);

  // To the end and back, by keys.
  await grid.focus();
  await page.keyboard.press("End");
  await grid.getByText("node-09999").waitFor();
  check((await rows()) < 150, `${await rows()} rows stand in the document at the end`);
  await page.keyboard.press("Home");
  await grid.getByText("node-00000").waitFor();

  // Filtered by a label, with keys alone: moving among the labels changes nothing, choosing one does.
  const labels = page.locator("summary", { hasText: "Labels" });
  await labels.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("checkbox", { name: /env=prod/ }).waitFor();
  const focused = () => page.evaluate(() => document.activeElement?.closest("label")?.querySelector("[title]").title);
  same(await focused(), "env=prod", "the label that has the keys when the list opens");
  await page.keyboard.press("ArrowDown");
  same(await focused(), "env=test", "the label that has the keys after an arrow down");
  await page.keyboard.press("ArrowDown"); // the last one stays
  same(await focused(), "env=test", "the last label");
  same(await grid.getAttribute("aria-rowcount"), String(crowd + 1), "the rows before a label is chosen");
  await page.keyboard.press("ArrowUp");
  same(await focused(), "env=prod", "the label that has the keys after an arrow up");
  await page.keyboard.press("Space");
  await until("the filter", async () => (await grid.getAttribute("aria-rowcount")) === String(crowd / 2 + 1));
  await page.keyboard.press("Escape");
  await page.getByRole("button", { name: "Stop filtering by env=prod" }).click();
  await until("no filter", async () => (await grid.getAttribute("aria-rowcount")) === String(crowd + 1));

  // Found as it is typed; by label as well.
  await page.keyboard.press("/");
  await page.keyboard.type("node-0765");
  await until("the search", async () => Number(await grid.getAttribute("aria-rowcount")) <= 11);
  await grid.getByText("node-07654").waitFor();
  await page.keyboard.type("4");
  await page.keyboard.press("ArrowDown");
  await page.keyboard.press("Enter");
  await page.waitForURL((url) => url.pathname === `/scrier/${id(7654)}`);
  same(new URL(page.url()).searchParams.get("protocol"), "ssh", "what Enter opens");
});
