import type { ReactiveController, ReactiveControllerHost } from "lit";

const tick = 1000; // ms: what is relative to now is told in seconds

/** Now renders its host again each second, while the page is seen. */
export class Now implements ReactiveController {
  private timer: ReturnType<typeof setInterval> | undefined;

  constructor(private host: ReactiveControllerHost) {
    host.addController(this);
  }

  get value(): number {
    return Date.now();
  }

  hostConnected(): void {
    this.timer = setInterval(() => {
      if (!document.hidden) this.host.requestUpdate();
    }, tick);
  }

  hostDisconnected(): void {
    clearInterval(this.timer);
  }
}
