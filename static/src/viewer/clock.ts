/** Clock is time; tests have one of their own. */
export interface Clock {
  now(): number; // ms, never backwards
  after(ms: number, f: () => void): () => void; // the result calls it off
}

export const clock: Clock = {
  now: () => performance.now(),
  after: (ms, f) => {
    const t = setTimeout(f, ms);
    return () => clearTimeout(t);
  },
};
