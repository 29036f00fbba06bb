// The page that Scrier's is compared with: guacamole-common-js as its manual uses it, and no more.
import { Client, Keyboard, WebSocketTunnel } from "@glokon/guacamole-common-js";

const q = new URLSearchParams(location.search);
const [width, height] = [Number(q.get("width")), Number(q.get("height"))];
const element = document.querySelector("[data-desktop]");
element.style.width = `${width}px`;
element.style.height = `${height}px`;

const client = new Client(new WebSocketTunnel("/tunnel"));
const display = client.getDisplay();
display.onresize = (w, h) => display.scale(Math.min(width / w, height / h));
element.append(display.getElement());

const keyboard = new Keyboard(element);
keyboard.onkeydown = (keysym) => {
  client.sendKeyEvent(1, keysym);
  return false;
};
keyboard.onkeyup = (keysym) => client.sendKeyEvent(0, keysym);

addEventListener("pagehide", () => client.disconnect());
client.connect(new URLSearchParams({ width, height, timezone: Intl.DateTimeFormat().resolvedOptions().timeZone ?? "" }).toString());
