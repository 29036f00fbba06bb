/**
 * probe runs in each document before the page's own scripts, and takes the times there: one clock,
 * at both ends. It must hold all that it uses, as its text is what is sent to the browser.
 *
 *   pressed   the key event's own time: a page that is busy with output is late to hear of it
 *   arrived   the echo's bytes have come out of the transport
 *   seen      the terminal has put the echo into the page's elements, which are painted next
 */
export function probe({ without, prompt, late = false }) {
  delete globalThis[without];
  const first = 8; // column of the first echo, bench/far.go
  const due = []; // keys that will be pressed
  const waits = new Map(); // keys that were, by the column of their echo
  let flooding; // when output was asked for
  let pouring = false; // the far program has begun with it
  let rows; // the terminal's, as elements
  const bench = (globalThis.bench = { prompt: undefined, echoes: [], took: undefined, bytes: 0, connections: 0 });

  const bottom = () => rows?.lastElementChild?.textContent.replace(/\u00a0/g, " ") ?? "";
  bench.said = () => bottom().slice(0, 5).trimEnd();
  bench.expect = (letter, column) => due.push({ letter, column });
  bench.waiting = () => due.length + waits.size;
  bench.flood = () => {
    bench.took = flooding = undefined;
    pouring = false;
  };
  bench.since = () => (flooding === undefined ? 0 : performance.now() - flooding);

  addEventListener("keydown", (e) => {
    if (e.key === "F") flooding ??= e.timeStamp;
    else if (e.key === due[0]?.letter) {
      const k = due.shift();
      waits.set(k.column, { letter: k.letter, pressed: e.timeStamp, arrived: undefined });
    }
  }, true);
  addEventListener("click", (e) => {
    if (e.target.closest?.("a[href^='/scrier/']")) sessionStorage.setItem("bench.click", String(performance.timeOrigin + e.timeStamp));
  }, true);

  // The far program shows an echo as ESC [ row ; column H letter ESC 8; other output has no ESC.
  const arrived = (b) => {
    bench.bytes += b.length;
    if (waits.size === 0) return;
    for (let i = b.indexOf(0x1b, 1); i > 0; i = b.indexOf(0x1b, i + 1)) {
      if (b[i + 1] !== 0x38 || b[i - 2] !== 0x48) continue;
      let column = 0;
      for (let at = i - 3, unit = 1; b[at] >= 0x30 && b[at] <= 0x39; at--, unit *= 10) column += unit * (b[at] - 0x30);
      const k = waits.get(column - first);
      if (k && k.letter.charCodeAt(0) === b[i - 1]) k.arrived ??= performance.now();
    }
  };
  if (globalThis.WebSocket) {
    globalThis.WebSocket = class extends WebSocket {
      constructor(...args) {
        if (late && bench.prompt === undefined) throw new Error("only beside WebTransport"); // a slow machine must not begin with it
        super(...args);
        bench.connections++;
        this.addEventListener("message", (e) => e.data instanceof ArrayBuffer && arrived(new Uint8Array(e.data)));
      }
    };
  }
  if (globalThis.WebTransport) {
    globalThis.WebTransport = class extends WebTransport {
      constructor(...args) {
        super(...args);
        bench.connections++;
      }
    };
    const read = ReadableStreamBYOBReader.prototype.read;
    ReadableStreamBYOBReader.prototype.read = async function (...args) {
      const r = await read.apply(this, args);
      if (r.value) arrived(r.value);
      return r;
    };
  }

  const look = () => {
    const now = performance.now();
    if (bench.prompt === undefined && rows.textContent.replace(/\u00a0/g, " ").includes(prompt)) {
      bench.prompt = performance.timeOrigin + now - Number(sessionStorage.getItem("bench.click"));
    }
    const bottomRow = waits.size > 0 || flooding !== undefined ? bottom() : "";
    for (const [column, k] of waits) {
      if (bottomRow[first - 1 + column] !== k.letter) continue;
      waits.delete(column);
      bench.echoes.push({ seen: now - k.pressed, arrived: k.arrived === undefined ? undefined : k.arrived - k.pressed });
    }
    if (flooding === undefined || bench.took !== undefined) return;
    const said = bottomRow.slice(0, 5).trimEnd();
    if (said === "more") pouring = true;
    else if (pouring && said === "over") bench.took = now - flooding;
  };
  new MutationObserver((_, search) => {
    rows = document.querySelector(".xterm-rows");
    if (!rows) return;
    search.disconnect();
    new MutationObserver(look).observe(rows, { childList: true, characterData: true, subtree: true });
    look();
  }).observe(document, { childList: true, subtree: true });
}
