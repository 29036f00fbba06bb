// What the page makes of what people give for a public key.
import assert from "node:assert/strict";
import test from "node:test";
import { entries, notAKey, textOf } from "../src/app/keytext";

const key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl fay";
const block = '---- BEGIN SSH2 PUBLIC KEY ----\nComment: "a"\nAAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl\n---- END SSH2 PUBLIC KEY ----';

test("files of every system are read", () => {
  const wide = (text, big) => Uint8Array.from([...text].flatMap((c) => (big ? [0, c.charCodeAt(0)] : [c.charCodeAt(0), 0])));
  for (const data of [
    new TextEncoder().encode(key), new TextEncoder().encode("\ufeff" + key), wide(key), wide(key, true),
    Uint8Array.from([0xff, 0xfe, ...wide(key)]), Uint8Array.from([0xfe, 0xff, ...wide(key, true)]),
  ])
    assert.equal(textOf(data), key);
  assert.equal(textOf(new Uint8Array()), "");
});

test("lines and blocks are one key each", () => {
  assert.deepEqual(entries(`\ufeff# mine\r\n${key}\r\n\r\n${block.replaceAll("\n", "\r\n")}\r\n${key}`), [key, block, key]);
  assert.deepEqual(entries(" \n#\n"), []);
  assert.deepEqual(entries("-----BEGIN PUBLIC KEY-----\nAAAA"), ["-----BEGIN PUBLIC KEY-----\nAAAA"]); // the relay says what is wrong
});

test("what is no public key is named, and nothing of it repeated", () => {
  for (const good of [key, block, `${key}\n${key}`, "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----", "sk-ssh-ed25519@openssh.com AAAA"])
    assert.equal(notAKey(good), undefined, good);
  for (const [bad, why] of [
    ["-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA", /^is a private key/],
    ["---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nAAAA", /^is a private key/],
    [`${key}\n-----BEGIN RSA PRIVATE KEY-----`, /^is a private key/],
    ["PuTTY-User-Key-File-3: ssh-ed25519", /^is a private key/],
    ["ssh-ed25519-cert-v01@openssh.com AAAA ann", /^is an SSH certificate/],
    ["-----BEGIN CERTIFICATE-----\nAAAA", /^is a certificate for TLS/],
    ["SHA256:AAAA", /^is the fingerprint/],
    [`from="192.0.2.1" ${key}`, /^has something before the key/],
    ["AAAA", /^holds no SSH public key/], ["", /^holds no SSH public key/],
  ]) {
    assert.match(notAKey(bad), why);
    assert.doesNotMatch(notAKey(bad), /AAAA/);
  }
});
