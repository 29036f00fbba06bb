// A path to the relay that can be cut: TCP and UDP through a port of its own.
import dgram from "node:dgram";
import net from "node:net";

export class Path {
  whole = true;
  sockets = new Set();
  peers = new Map(); // UDP: by the browser's port, the socket that stands for it

  /** open listens on a port that is free for both. */
  static async open(relay) {
    const p = new Path();
    const [host, port] = relay.split(":");
    p.tcp = net.createServer((near) => {
      if (!p.whole) return near.destroy();
      const far = net.connect(Number(port), host);
      for (const [a, b] of [[near, far], [far, near]]) {
        p.sockets.add(a);
        a.on("error", () => b.destroy()).on("close", () => {
          p.sockets.delete(a);
          b.destroy();
        });
      }
      near.pipe(far).pipe(near);
    });
    p.udp = dgram.createSocket("udp4");
    await new Promise((done) => p.tcp.listen(0, host, done));
    p.port = p.tcp.address().port;
    await new Promise((done, failed) => p.udp.once("error", failed).bind(p.port, host, done));
    p.udp.on("message", (data, from) => {
      if (!p.whole) return;
      let far = p.peers.get(from.port);
      if (!far) {
        p.peers.set(from.port, (far = dgram.createSocket("udp4")));
        far.on("message", (answer) => p.whole && p.udp.send(answer, from.port, from.address));
        far.on("error", () => {});
      }
      far.send(data, Number(port), host);
    });
    for (const s of [p.tcp, p.udp]) s.unref();
    return p;
  }

  get origin() {
    return `https://localhost:${this.port}`;
  }

  /** cut lets nothing through: UDP is dropped, TCP reset. */
  cut() {
    this.whole = false;
    for (const s of this.sockets) s.resetAndDestroy();
  }

  mend() {
    this.whole = true;
  }
}
