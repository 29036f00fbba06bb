// What people give for an SSH public key: lines, blocks of RFC 4716 or PEM, files of any system. The relay reads the
// keys (certs.ParsePublicKey); here is named what must not leave this machine, or cannot be a key.

const begin = /^-{4,5} ?BEGIN /;
const end = /^-{4,5} ?END /;

/** textOf decodes a key file, which Windows writes in UTF-16. */
export function textOf(data: Uint8Array): string {
  const [a, b] = data;
  const coding = a === 0xff && b === 0xfe ? "utf-16le" : a === 0xfe && b === 0xff ? "utf-16be" : a && b === 0 ? "utf-16le" : a === 0 && b ? "utf-16be" : "utf-8";
  return new TextDecoder(coding).decode(data);
}

/** entries are the keys in a text: one a line, or a block. Empty lines and comments are left out. */
export function entries(text: string): string[] {
  const out: string[] = [];
  let block: string[] | undefined;
  for (const raw of text.replace(/^\ufeff/, "").split(/\r\n|\r|\n/)) {
    const line = raw.trim();
    if (block) {
      block.push(line);
      if (!end.test(line)) continue;
      out.push(block.join("\n"));
      block = undefined;
    } else if (begin.test(line)) block = [line];
    else if (line && !line.startsWith("#")) out.push(line);
  }
  if (block) out.push(block.join("\n"));
  return out;
}

/** notAKey says why a text holds no public key, as the end of a sentence that begins with its name; undefined: it may. */
export function notAKey(text: string): string | undefined {
  if (/-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY/.test(text) || /^\s*PuTTY-User-Key-File-/.test(text))
    return "is a private key. Give only the public one, in OpenSSH the file that ends in .pub; the private one stays with its owner.";
  const keys = entries(text);
  if (!keys.length) return "holds no SSH public key. The right file ends in .pub.";
  for (const k of keys) {
    if (/^(ssh-|ecdsa-|sk-)\S+-cert-v\d\d@openssh\.com\s/.test(k)) return "is an SSH certificate. Give the key that it was made for: the file without -cert in its name.";
    if (/^-----BEGIN CERTIFICATE/.test(k)) return "is a certificate for TLS. The right file ends in .pub.";
    if (/^(SHA256|MD5):/.test(k)) return "is the fingerprint of a key. Give the key itself.";
    if (/^-----BEGIN (RSA )?PUBLIC KEY-----/.test(k) || /^---- BEGIN SSH2 PUBLIC KEY ----/.test(k)) continue;
    if (/^\S.*\s(ssh-|ecdsa-sha2-|sk-)[a-z0-9@.-]+\sAAAA/.test(k)) return "has something before the key, such as options. Give it from its type on, ssh-ed25519 for example.";
    if (!/^(ssh-|ecdsa-|sk-)/.test(k)) return "holds no SSH public key. The right file ends in .pub.";
  }
  return undefined;
}
