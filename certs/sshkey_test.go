package certs

import (
	"bytes"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// utf16Of is a text as Windows writes it.
func utf16Of(order binary.AppendByteOrder, text string) []byte {
	var out []byte
	for _, u := range utf16.Encode([]rune(text)) {
		out = order.AppendUint16(out, u)
	}
	return out
}

// One key is the same key in each form in which the real programs write it.
func TestParsePublicKey(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "id_rsa")
	keygen := func(args ...string) []byte {
		out, err := exec.Command("ssh-keygen", args...).Output()
		if err != nil {
			t.Fatal(args, err)
		}
		return out
	}
	keygen("-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "ann at the desk", "-f", file)
	line, err := os.ReadFile(file + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	private, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	want, _, _, _, err := ssh.ParseAuthorizedKey(line)
	if err != nil {
		t.Fatal(err)
	}
	text := string(line)
	ssh2 := keygen("-e", "-m", "rfc4716", "-f", file+".pub")
	for name, data := range map[string][]byte{
		"as it is": line, "no newline": bytes.TrimSpace(line), "spaces": []byte("\n  " + text + "\n\n"), "comment before": []byte("# ann's\n" + text),
		"byte order mark": []byte("\ufeff" + text), "Windows": []byte(strings.ReplaceAll(text, "\n", "\r\n")), "old Mac": []byte(strings.ReplaceAll(text, "\n", "\r")),
		"UTF-16, little": append([]byte("\xff\xfe"), utf16Of(binary.LittleEndian, text)...), "UTF-16, big": append([]byte("\xfe\xff"), utf16Of(binary.BigEndian, text)...),
		"UTF-16 without a mark": utf16Of(binary.LittleEndian, text), "UTF-16 without a mark, big": utf16Of(binary.BigEndian, text),
		"RFC 4716": ssh2, "RFC 4716, Windows": bytes.ReplaceAll(ssh2, []byte("\n"), []byte("\r\n")),
		"PKCS#8": keygen("-e", "-m", "pkcs8", "-f", file+".pub"), "PEM": keygen("-e", "-m", "pem", "-f", file+".pub"),
	} {
		key, comment, err := ParsePublicKey(data)
		if err != nil || !bytes.Equal(key.Marshal(), want.Marshal()) {
			t.Errorf("%s: %v", name, err)
		} else if !strings.HasPrefix(name, "P") && !strings.HasPrefix(name, "RFC") && comment != "ann at the desk" {
			t.Errorf("%s: comment %q", name, comment)
		}
	}
	if _, comment, err := ParsePublicKey(bytes.Replace(ssh2, []byte("\nAAAA"), []byte("\nComment: \"ann \\\nat the desk\"\nx-other: y\nAAAA"), 1)); err != nil || comment != "ann at the desk" {
		t.Errorf("a comment of two lines: %q, %v", comment, err)
	}

	keygen("-q", "-s", file, "-I", "id", "-n", "ann", file+".pub")
	certificate, err := os.ReadFile(file + "-cert.pub")
	if err != nil {
		t.Fatal(err)
	}
	ppk, _ := puttyKey(t)
	for name, c := range map[string]struct {
		data []byte
		why  string
	}{
		"nothing":            {nil, "is empty"},
		"blank":              {[]byte("\xef\xbb\xbf \r\n"), "is empty"},
		"two keys":           {[]byte(text + text), "holds 2 public keys"},
		"two of RFC 4716":    {append(bytes.Clone(ssh2), ssh2...), "holds 2 public keys"},
		"comments":           {[]byte("# nothing\n"), "holds comments and no key"},
		"certificate":        {certificate, "is an SSH certificate"},
		"private":            {private, "is a private key"},
		"private, UTF-16":    {append([]byte("\xff\xfe"), utf16Of(binary.LittleEndian, string(private))...), "is a private key"},
		"private, PKCS#8":    {[]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "is a private key"},
		"private, ssh.com":   {[]byte("---- BEGIN SSH2 ENCRYPTED PRIVATE KEY ----\nP2/56wAAAA\n"), "is a private key"},
		"private, cut":       {private[:200], "is a private key"},
		"PuTTY":              {ppk, "is a private key"},
		"X.509":              {[]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), "is a certificate for TLS"},
		"PGP":                {[]byte("-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nAAAA\n-----END PGP PUBLIC KEY BLOCK-----\n"), `"PGP PUBLIC KEY BLOCK"`},
		"PEM, damaged":       {[]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"), "SSH does not know"},
		"options":            {[]byte(`command="true" ` + text), "has something before the key"},
		"known_hosts":        {[]byte("web1 " + text), "has something before the key"},
		"fingerprint":        {[]byte(ssh.FingerprintSHA256(want)), "is the fingerprint of a key"},
		"cut":                {[]byte(text[:100]), "is a damaged SSH public key"},
		"broken into lines":  {[]byte(text[:100] + "\n" + text[100:]), "is a damaged SSH public key"},
		"RFC 4716, cut":      {ssh2[:len(ssh2)/2], "is a damaged SSH public key"},
		"something else too": {[]byte(text + "password: secret\n"), "holds other lines"},
		"something else":     {[]byte("my secret"), "is not an SSH public key"},
	} {
		key, _, err := ParsePublicKey(c.data)
		if key != nil && err == nil || wire.CodeOf(err) != wire.KeyUnusable || !strings.Contains(wire.DetailOf(err), c.why) {
			t.Errorf("%s: %v", name, err)
		}
		if strings.Contains(wire.HintOf(err), "ssh-add") && name != "certificate" {
			t.Errorf("%s: ssh-agent would not take it either: %s", name, wire.HintOf(err))
		}
		if strings.Contains(wire.DetailOf(err), "secret") || strings.Contains(wire.DetailOf(err), "AAAA") {
			t.Errorf("%s is repeated: %v", name, err)
		}
	}
}

// puttyKey is a .ppk of the real PuTTYgen's.
func puttyKey(t *testing.T, args ...string) (ppk []byte, file string) {
	t.Helper()
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	file = filepath.Join(dir, "ann.ppk")
	if out, err := exec.Command("puttygen", append([]string{"-q", "-t", "ed25519", "-C", "ann", "--new-passphrase", empty, "-o", file}, args...)...).CombinedOutput(); err != nil {
		t.Fatalf("puttygen: %v: %s", err, out)
	}
	ppk, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return ppk, file
}

func TestParsePuTTY(t *testing.T) {
	for _, version := range []string{"2", "3"} {
		ppk, file := puttyKey(t, "--ppk-param", "version="+version)
		line, err := exec.Command("puttygen", "-L", file).Output()
		if err != nil {
			t.Fatal(err)
		}
		want, _, err := ParsePublicKey(line)
		if err != nil {
			t.Fatal(err)
		}
		key, err := ParsePuTTY(KeyText(ppk))
		if err != nil || !bytes.Equal(key.Marshal(), want.Marshal()) {
			t.Errorf("version %s: %v", version, err)
		}
		saved, err := exec.Command("puttygen", "-p", file).Output() // "Save public key"
		if err != nil {
			t.Fatal(err)
		}
		if key, comment, err := ParsePublicKey(saved); err != nil || !bytes.Equal(key.Marshal(), want.Marshal()) || comment != "ann" {
			t.Errorf("version %s: %q, %v", version, comment, err)
		}
	}
	for _, bad := range []string{"", "PuTTY-User-Key-File-3: ssh-ed25519\n", "Public-Lines: 9999999999999999999999", "Public-Lines: -1\n", "Public-Lines: 3\nAAAA", "Public-Lines: 1\nAAAA"} {
		if _, err := ParsePuTTY([]byte(bad)); wire.CodeOf(err) != wire.KeyUnusable {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

func FuzzParsePublicKey(f *testing.F) {
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVJ2U7KNZuWqzdCJKnUaaSDjVZt8nfoVPfZtEOJCpvb c\n"))
	f.Add([]byte("---- BEGIN SSH2 PUBLIC KEY ----\nComment: a\\\nb\nAAAA\n---- END SSH2 PUBLIC KEY ----\n"))
	f.Add([]byte("\xff\xfes\x00s\x00h\x00"))
	f.Add([]byte("-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		key, _, err := ParsePublicKey(data)
		if err != nil && wire.CodeOf(err) != wire.KeyUnusable {
			t.Errorf("%q: %v", data, err)
		}
		if err == nil && key == nil {
			t.Errorf("%q: no key and no error", data)
		}
		if _, err := ParsePuTTY(KeyText(data)); err != nil && wire.CodeOf(err) != wire.KeyUnusable {
			t.Errorf("%q: %v", data, err)
		}
	})
}
