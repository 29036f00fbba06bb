import { AudioContextFactory, AudioPlayer, type Client } from "@glokon/guacamole-common-js";

/**
 * Sound plays what the desktop lets be heard. Browsers allow that after a gesture only: what comes
 * before, or while it is muted, is dropped, as it would all be heard at once later.
 */
export class Sound {
  muted = false;
  heard = false; // the desktop has sent something

  constructor(private readonly changed: () => void) {}

  /** hear takes the sound of a client. */
  hear(client: Client): void {
    client.onaudio = (stream, mimetype) => {
      const player = AudioPlayer.getInstance(stream, mimetype);
      const play = stream.onblob;
      if (!player || !play) return null;
      this.heard = true;
      this.changed();
      stream.onblob = (data) => {
        if (!this.muted && this.context?.state === "running") play.call(stream, data);
      };
      return player;
    };
  }

  /** wake is called with each gesture of the person's. */
  wake(): void {
    if (this.heard && !this.muted && this.context?.state === "suspended") void this.context.resume().catch(() => {});
  }

  toggle(): void {
    this.muted = !this.muted;
    this.wake();
    this.changed();
  }

  private get context(): AudioContext | null {
    return AudioContextFactory.getAudioContext();
  }
}
