// Holds two terminals of the page's kind against each other, without a page: xterm.js as
// @xterm/headless, with the page's add-on for the widths of characters.
//
// Usage: node judge.mjs FOLDER-OF-NODE-MODULES
//
// On stdin there is a case a line, as JSON: {cols, rows, a, b, then, list}. a and b are what the two terminals
// are given, then is what both are given after that: lists of {w: base64} to write and {r: [cols, rows]} to
// resize. On stdout there is a line for each: what differs, before and behind then; with list, instead, what
// b has in the end, the lines above the screen included.
import { createRequire } from "node:module";
import path from "node:path";
import { createInterface } from "node:readline";

const require = createRequire(path.resolve(process.argv[2], "here.js"));
// The add-on reads its table from the wrong place of a Buffer, which browsers do not have.
const buffer = globalThis.Buffer;
delete globalThis.Buffer;
const { UnicodeGraphemesAddon } = require("@xterm/addon-unicode-graphemes");
globalThis.Buffer = buffer;
const { Terminal } = require("@xterm/headless");

const CM = 0x3000000;
const UNDERLINE = 0x10000000;
const EXTENDED = 0x10000000;

function open(cols, rows) {
  const term = new Terminal({ allowProposedApi: true, cols, rows, scrollback: 10_000, logLevel: "off" });
  term.loadAddon(new UnicodeGraphemesAddon());
  // xterm.js does these as often as it is told: the largest number takes minutes.
  for (const final of "ILMSTZb") {
    term.parser.registerCsiHandler({ final }, (params) => {
      if (params[0] > 5000) throw new Error("too often");
      return false;
    });
  }
  const core = term._core;
  const t = { term, core, title: null, bells: 0, answers: "", colours: {} };
  term.onTitleChange((s) => (t.title = s));
  term.onBell(() => t.bells++);
  term.onData((s) => (t.answers += s));
  core._inputHandler.onColor((event) => {
    for (const e of event) {
      if (e.type === 1) t.colours[e.index] = e.color.join();
      else if (e.type === 2 && e.index !== undefined) delete t.colours[e.index];
      else if (e.type === 2) for (let i = 0; i < 256; i++) delete t.colours[i];
    }
  });
  return t;
}

function play(t, ops) {
  for (const op of ops ?? []) {
    if (op.r) t.term.resize(op.r[0], op.r[1]);
    else t.core.writeSync(Buffer.from(op.w ?? "", "base64"));
  }
}

// survives plays, and says so if xterm.js fails by itself, as there is nothing to compare then.
function survives(t, ops) {
  try {
    play(t, ops);
    return true;
  } catch {
    process.stdout.write('["xterm.js failed"]\n');
    return false;
  }
}

// colour drops the bits that xterm.js leaves in a number of the palette from a colour before it.
function colour(v) {
  const kind = v & CM;
  if (kind === 0) return 0;
  return kind === CM ? v & 0x3ffffff : kind | (v & 0xff);
}

function cell(line, x) {
  const c = line.loadCell(x, { content: 0, fg: 0, bg: 0, extended: null, combinedData: "" });
  let chars = c.content & 0x200000 ? c.combinedData : c.content & 0x1fffff ? String.fromCodePoint(c.content & 0x1fffff) : "";
  if (chars.length > 15) chars = [...chars].slice(0, 15).join(""); // no more are kept of one cell
  let underline = 0;
  if (c.fg & UNDERLINE) underline = (c.bg & EXTENDED && (c.extended._ext >> 26) & 7) || 1;
  const under = underline && c.bg & EXTENDED ? colour(c.extended._ext & 0x3ffffff) : 0;
  const flags = [c.fg & 0xfc000000, c.bg & 0xec000000];
  const look = [colour(c.fg), colour(c.bg), flags[0], flags[1], underline, under];
  return JSON.stringify([chars, c.content >> 22, ...look]);
}

function pen(a) {
  return [colour(a.fg), colour(a.bg), a.fg & 0xfc000000, a.bg & 0xec000000, a.fg & UNDERLINE ? (a.bg & EXTENDED && (a.extended._ext >> 26) & 7) || 1 : 0, colour(a.extended._ext & 0x3ffffff)];
}

const names = new Map();
function charset(c) {
  if (!c) return 0;
  const key = JSON.stringify(c);
  if (!names.has(key)) names.set(key, names.size + 1);
  return names.get(key);
}

function shows(b, cols, rows) {
  const out = { x: b.x, y: b.y, top: b.scrollTop, bottom: b.scrollBottom, tabs: "", lines: [] };
  for (let x = 0; x < cols; x++) if (b.tabs[x]) out.tabs += x + ",";
  const y = Math.min(Math.max(b.savedY - b.ybase, 0), rows - 1);
  out.saved = [Math.min(b.savedX, cols - 1), y, colour(b.savedCurAttrData.fg), colour(b.savedCurAttrData.bg), charset(b.savedCharset)];
  for (let y = 0; y < rows && b.lines.length > 0; y++) {
    const line = b.lines.get(b.ybase + y);
    const cells = [];
    for (let x = 0; x < cols; x++) cells.push(cell(line, x));
    out.lines.push({ wrapped: y > 0 && line.isWrapped, cells });
  }
  return out;
}

const swallows = new Set([11, 13]); // a device control string that is ignored, and one that is taken

function state(t) {
  const { core, term } = t;
  const service = core._bufferService;
  const h = core._inputHandler;
  const parser = h._parser;
  const alt = service.buffers.active === service.buffers.alt;
  const normal = shows(service.buffers.normal, term.cols, term.rows);
  const other = shows(service.buffers.alt, term.cols, term.rows);
  const shown = alt ? other : normal;
  // Only printing leads the cursor behind the last column: an empty cell there is painted as a space.
  if (shown.x === term.cols) shown.lines[shown.y].cells[term.cols - 1] = shown.lines[shown.y].cells[term.cols - 1].replace('[" ",1', '["",1');
  if (alt) normal.x = normal.y = 0; // comes from the alternate screen when that is left
  // Nothing joins what stands before a device control string.
  const join = parser.precedingJoinState;
  const { cursorBlink, cursorStyle, ...modes } = core.coreService.decPrivateModes;
  return {
    alt,
    normal,
    other,
    pen: pen(h._curAttrData),
    charsets: [0, 1, 2, 3].map((i) => charset(core._charsetService._charsets[i])),
    level: core._charsetService.glevel,
    charset: charset(core._charsetService.charset),
    modes,
    style: [cursorBlink, cursorStyle],
    insert: core.coreService.modes.insertMode,
    hidden: core.coreService.isCursorHidden,
    newline: core.optionsService.rawOptions.convertEol,
    blink: core.optionsService.rawOptions.cursorBlink,
    mouse: [core.coreMouseService.activeProtocol, core.coreMouseService.activeEncoding],
    title: t.title === null ? null : printable(t.title),
    colours: t.colours,
    join: parser.currentState === 13 ? 0 : join && [(join >> 3) & 15, (join >> 1) & 3],
    parser: swallows.has(parser.currentState) ? "swallows" : parser.currentState,
    partial: [...h._utf8Decoder.interim],
  };
}

// printable is what is kept of a title.
function printable(s) {
  let out = "";
  for (const c of s.replace(/[^\p{L}\p{M}\p{N}\p{P}\p{S} ]/gu, "")) {
    if (Buffer.byteLength(out + c) > 256) break;
    out += c;
  }
  return out;
}

function differ(a, b, at, out) {
  if (out.length >= 8) return;
  if (typeof a === "object" && a && typeof b === "object" && b) {
    for (const k of new Set([...Object.keys(a), ...Object.keys(b)])) differ(a[k], b[k], at + "." + k, out);
  } else if (a !== b) out.push(`${at}: ${a} / ${b}`);
}

for await (const text of createInterface({ input: process.stdin, crlfDelay: Infinity })) {
  const c = JSON.parse(text);
  const out = [];
  try {
    const a = open(c.cols, c.rows);
    const b = open(c.cols, c.rows);
    if (!survives(a, c.a)) continue;
    if (c.list) { // nothing is compared: what B has, the lines above the screen included
      play(b, c.b);
      const lines = b.core._bufferService.buffers.normal.lines;
      for (let i = 0; i < lines.length; i++) out.push(lines.get(i).translateToString(true));
      process.stdout.write(JSON.stringify(out) + "\n");
      continue;
    }
    play(b, c.b.slice(0, -1));
    // The first line may go on from one above the screen. A repaint does not say so, as another line is above
    // the viewer's.
    for (const buffer of [a.core._bufferService.buffers.normal, a.core._bufferService.buffers.alt]) {
      if (buffer.lines.length > 0) buffer.lines.get(buffer.ybase).isWrapped = false;
    }
    const before = { bells: b.bells, answers: b.answers };
    play(b, c.b.slice(-1)); // the repaint
    if (b.bells !== before.bells) out.push("the repaint rings the bell");
    if (b.answers !== before.answers) out.push("the repaint makes the terminal answer " + JSON.stringify(b.answers));
    differ(state(a), state(b), "", out);
    if (out.length === 0) {
      if (!survives(a, c.then)) continue;
      play(b, c.then);
      differ(state(a), state(b), "then", out);
    }
    a.term.dispose();
    b.term.dispose();
  } catch (e) {
    out.push("the judge failed: " + e.stack);
  }
  process.stdout.write(JSON.stringify(out) + "\n");
}
