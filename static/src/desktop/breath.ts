// scheduler.yield is not in every browser, and TypeScript does not know it yet.
const scheduler = (globalThis as { scheduler?: { yield?: () => Promise<void> } }).scheduler;

/** breath lets the page do what waits, input first, and goes on as soon as that is done. */
export function breath(): Promise<void> {
  if (scheduler?.yield) return scheduler.yield();
  return new Promise((done) => {
    const c = new MessageChannel(); // setTimeout waits 4 ms, and a second in a hidden page
    c.port1.onmessage = () => {
      c.port1.close();
      done();
    };
    c.port2.postMessage(undefined);
  });
}
