// QUIC's variable-length integers (RFC 9000, 16): the first two bits say how long.

/** appendVarint writes n behind b; n is a whole number below 2^53. */
export function appendVarint(b: number[], n: number): void {
  if (n < 0x40) b.push(n);
  else if (n < 0x4000) b.push(0x40 | (n >> 8), n & 0xff);
  else if (n < 0x4000_0000) b.push(0x80 | (n >> 24), (n >> 16) & 0xff, (n >> 8) & 0xff, n & 0xff);
  else {
    const high = Math.floor(n / 2 ** 32);
    b.push(0xc0 | (high >> 24), (high >> 16) & 0xff, (high >> 8) & 0xff, high & 0xff);
    b.push((n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff);
  }
}

/** varintSize is how many bytes a varint has that begins with first. */
export function varintSize(first: number): number {
  return 1 << (first >> 6);
}

/** readVarint reads the whole varint at b[at]; one above 2^53 comes out inexact, but far above every limit. */
export function readVarint(b: Uint8Array, at: number): number {
  const size = varintSize(b[at] ?? 0);
  let n = (b[at] ?? 0) & 0x3f;
  for (let i = 1; i < size; i++) n = n * 256 + (b[at + i] ?? 0);
  return n;
}
