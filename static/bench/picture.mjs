/**
 * picture runs in each document before the page's own scripts, and takes the times there: one clock,
 * at both ends. It must hold all that it uses, as its text is what is sent to the browser.
 *
 *   begin     the page asks for the desktop: Scrier's its relay, the bare one for its WebSocket
 *   first     the picture has the desktop's own colour in a frame of the screen
 *   pressed   the key event's own time
 *   arrived   the end of guacd's next frame has come out of the transport
 *   seen      the picture has the block's other colour in a frame of the screen
 *
 * A frame of the desktop is counted when the page tells guacd that it is drawn.
 */
export function picture({ without }) {
  delete globalThis[without];
  const width = 1024; // of the desktop, and what is on it, bench/screen.go
  const ground = { x: 1000, y: 740, colour: [0x1e, 0x64, 0x50] };
  const block = { x: 10, y: 10 };
  const near = 24; // of 255: guacd may send a JPEG
  const frame = "4.sync,";
  const bench = (globalThis.bench = { first: undefined, echo: undefined });
  let begin;
  let frames = 0;
  let bytes = 0;
  let wait; // for a key's answer
  let running = false;

  let canvas; // of the desktop
  const colourAt = ({ x, y }) => {
    if (!canvas?.isConnected || canvas.width !== width) canvas = [...document.querySelectorAll("[data-desktop] canvas")].find((c) => c.width === width);
    return canvas?.getContext("2d").getImageData(x, y, 1, 1).data;
  };
  const isRed = () => {
    const c = colourAt(block);
    return c[0] > c[2];
  };
  const isGround = () => {
    const c = colourAt(ground);
    return c !== undefined && c[3] === 255 && ground.colour.every((v, i) => Math.abs(v - c[i]) <= near);
  };

  // look is called in each frame of the screen while something is waited for.
  const look = () => {
    const now = performance.now();
    if (begin !== undefined && bench.first === undefined && isGround()) bench.first = now - begin;
    if (wait?.pressed !== undefined && isRed() !== wait.red) {
      bench.echo = { seen: now - wait.pressed, arrived: wait.arrived === undefined ? undefined : wait.arrived - wait.pressed };
      wait = undefined;
    }
    running = (begin !== undefined && bench.first === undefined) || wait !== undefined;
    if (running) requestAnimationFrame(look);
  };
  const run = () => {
    if (!running) requestAnimationFrame(look);
    running = true;
  };
  const ask = () => {
    if (begin !== undefined) return;
    begin = performance.now();
    run();
  };

  bench.expect = () => {
    bench.echo = undefined;
    wait = { red: isRed(), pressed: undefined, arrived: undefined };
    run();
  };
  bench.count = () => {
    const now = { frames, bytes };
    frames = bytes = 0;
    return now;
  };

  addEventListener("keydown", (e) => {
    if (wait && wait.pressed === undefined) wait.pressed = e.timeStamp;
  }, true);

  const latin = new TextDecoder("latin1");
  const text = (b) => (typeof b === "string" ? b : latin.decode(b));
  const came = (b) => {
    bytes += b.length ?? b.byteLength;
    if (wait?.pressed !== undefined && wait.arrived === undefined && text(b).includes(frame)) wait.arrived = performance.now();
  };
  const sent = (b) => {
    const s = text(b);
    for (let at = s.indexOf(frame); at >= 0; at = s.indexOf(frame, at + 1)) frames++;
  };

  const { fetch } = globalThis;
  globalThis.fetch = function (...args) {
    if (String(args[0]?.url ?? args[0]).endsWith("/scrier/connect")) ask();
    return fetch.apply(this, args);
  };
  if (globalThis.WebSocket) {
    globalThis.WebSocket = class extends WebSocket {
      constructor(...args) {
        super(...args);
        ask();
        this.addEventListener("message", (e) => came(typeof e.data === "string" ? e.data : new Uint8Array(e.data)));
      }

      send(b) {
        sent(b);
        super.send(b);
      }
    };
  }
  if (globalThis.WebTransport) {
    const read = ReadableStreamBYOBReader.prototype.read;
    ReadableStreamBYOBReader.prototype.read = async function (...args) {
      const r = await read.apply(this, args);
      if (r.value) came(r.value);
      return r;
    };
    const write = WritableStreamDefaultWriter.prototype.write;
    WritableStreamDefaultWriter.prototype.write = function (...args) {
      if (args[0]) sent(args[0]);
      return write.apply(this, args);
    };
  }
}
