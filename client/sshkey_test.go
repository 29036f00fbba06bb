package client

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/certs"
	"scrier/wire"
)

const testPassphrase = "correct horse"

// A wallet is a home with keys made by the real ssh-keygen, and a real ssh-agent.
type wallet struct {
	home, agent string
	asked       []string // prompts for passphrases
	answers     []string // to them; the last one again and again
}

func newWallet(t *testing.T) *wallet {
	t.Helper()
	w := &wallet{home: t.TempDir(), answers: []string{testPassphrase}}
	if err := os.Mkdir(filepath.Join(w.home, ".ssh"), 0o700); err != nil {
		t.Fatal(err)
	}
	return w
}

func (w *wallet) config() SSHKeyConfig {
	return SSHKeyConfig{Agent: w.agent, Home: w.home, Passphrase: func(prompt string) ([]byte, error) {
		answer := w.answers[min(len(w.asked), len(w.answers)-1)]
		w.asked = append(w.asked, prompt)
		return []byte(answer), nil
	}}
}

func (w *wallet) path(name string) string { return filepath.Join(w.home, ".ssh", name) }

// make makes a key in .ssh and returns its public half.
func (w *wallet) make(t *testing.T, name, passphrase string, args ...string) ssh.PublicKey {
	t.Helper()
	run(t, "ssh-keygen", append([]string{"-q", "-N", passphrase, "-C", "c", "-f", w.path(name)}, args...)...)
	data, err := os.ReadFile(w.path(name) + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	key, _, _, _, err := ssh.ParseAuthorizedKey(data)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}

// startAgent starts an ssh-agent that holds the keys in these files.
func (w *wallet) startAgent(t *testing.T, names ...string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "agent") // short, for a socket
	if err != nil {
		t.Fatal(err)
	}
	w.agent = filepath.Join(dir, "s")
	cmd := exec.Command("ssh-agent", "-D", "-a", w.agent)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	})
	timeout := time.After(patience)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		c, err := net.Dial("unix", w.agent)
		if err == nil {
			c.Close()
			break
		}
		select {
		case <-tick.C:
		case <-timeout:
			t.Fatal(err)
		}
	}
	for _, name := range names {
		add := exec.Command("ssh-add", "-q", w.path(name))
		add.Env = append(os.Environ(), "SSH_AUTH_SOCK="+w.agent)
		if out, err := add.CombinedOutput(); err != nil {
			t.Fatalf("ssh-add: %v\n%s", err, out)
		}
	}
}

func same(a, b ssh.PublicKey) bool { return bytes.Equal(a.Marshal(), b.Marshal()) }

// wantSigner takes the signer that is found, and has it sign.
func wantSigner(t *testing.T, c SSHKeyConfig, want ssh.PublicKey) {
	t.Helper()
	k, err := Signer(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	if !same(k.PublicKey(), want) {
		t.Fatalf("found %s, want %s", ssh.FingerprintSHA256(k.PublicKey()), ssh.FingerprintSHA256(want))
	}
	blob, err := certs.SignSSH(rand.Reader, k, "test@scrier", []byte("message"))
	if err != nil {
		t.Fatal(err)
	}
	if key, err := certs.VerifySSH(blob, "test@scrier", []byte("message")); err != nil || !same(key, want) {
		t.Errorf("%v", err)
	}
	sig, err := k.Sign(rand.Reader, []byte("data"))
	if err != nil {
		t.Fatal(err)
	}
	if err := want.Verify([]byte("data"), sig); err != nil || sig.Format == ssh.KeyAlgoRSA {
		t.Errorf("%s: %v", sig.Format, err)
	}
}

func wantCandidates(t *testing.T, c SSHKeyConfig, want ...ssh.PublicKey) {
	t.Helper()
	got, err := Candidates(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != len(want) {
		t.Fatalf("%d candidates, want %d", len(got), len(want))
	}
	for i := range got {
		if !same(got[i], want[i]) {
			t.Errorf("candidate %d is %s", i, ssh.FingerprintSHA256(got[i]))
		}
	}
}

func wantCode(t *testing.T, err error, code wire.Code, hint string) {
	t.Helper()
	if err == nil || wire.CodeOf(err) != code || !strings.Contains(err.Error(), hint) {
		t.Errorf("got %v, want %v with %q", err, code, hint)
	}
}

func TestKeysInFiles(t *testing.T) {
	w := newWallet(t)
	_, err := Signer(t.Context(), w.config())
	wantCode(t, err, wire.NoSSHPubkey, ".ssh")
	_, err = Candidates(t.Context(), w.config())
	wantCode(t, err, wire.NoSSHPubkey, "")

	rsa := w.make(t, "id_rsa", "", "-t", "rsa", "-b", "2048")
	wantSigner(t, w.config(), rsa)
	ec := w.make(t, "id_ecdsa", "", "-t", "ecdsa")
	wantSigner(t, w.config(), ec)
	ed := w.make(t, "id_ed25519", "", "-t", "ed25519")
	wantSigner(t, w.config(), ed)
	wantCandidates(t, w.config(), ed, ec, rsa)

	c := w.config()
	c.Wanted = func(k ssh.PublicKey) bool { return same(k, rsa) }
	wantSigner(t, c, rsa)
	wantCandidates(t, c, rsa)
	c.Wanted = func(ssh.PublicKey) bool { return false }
	_, err = Signer(t.Context(), c)
	wantCode(t, err, wire.NoSSHPubkey, "none of your 3")
	_, err = Candidates(t.Context(), c)
	wantCode(t, err, wire.NoSSHPubkey, "none of your 3")

	signer, closer, err := SignerFor(t.Context(), w.config(), ec)
	if err != nil || !same(signer.PublicKey(), ec) || closer.Close() != nil {
		t.Errorf("SignerFor: %v", err)
	}
	for _, name := range []string{"id_rsa", "id_rsa.pub", "id_ed25519", "id_ecdsa.pub"} {
		key, err := ReadPublicKeyFile(w.path(name))
		if err != nil || !same(key, map[string]ssh.PublicKey{"id_r": rsa, "id_e": ed}[name[:4]]) && !same(key, ec) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err = ReadPublicKeyFile(w.path("missing"))
	wantCode(t, err, wire.KeyUnusable, "missing")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	if len(w.asked) != 0 {
		t.Errorf("asked for %q", w.asked)
	}
}

func TestPassphrases(t *testing.T) {
	w := newWallet(t)
	ed := w.make(t, "id_ed25519", testPassphrase, "-t", "ed25519")
	rsa := w.make(t, "id_rsa", "", "-t", "rsa", "-b", "2048")

	// The first key is locked: it is listed, but nobody is asked while another is wanted.
	wantCandidates(t, w.config(), ed, rsa)
	c := w.config()
	c.Wanted = func(k ssh.PublicKey) bool { return same(k, rsa) }
	wantSigner(t, c, rsa)
	if len(w.asked) != 0 {
		t.Fatalf("asked for %q", w.asked)
	}
	w.answers = []string{"wrong", "", testPassphrase}
	wantSigner(t, w.config(), ed)
	if len(w.asked) != 3 || !strings.Contains(w.asked[0], w.path("id_ed25519")) {
		t.Errorf("asked for %q", w.asked)
	}

	only := w.config()
	only.KeyFile = w.path("id_ed25519")
	w.asked, w.answers = nil, []string{"wrong"}
	_, err := Signer(t.Context(), only)
	wantCode(t, err, wire.KeyUnusable, w.path("id_ed25519"))
	if len(w.asked) != 3 {
		t.Errorf("asked %d times", len(w.asked))
	}
	only.Passphrase = nil
	_, _, err = SignerFor(t.Context(), only, ed)
	wantCode(t, err, wire.KeyUnusable, "encrypted")
	gaveUp := errors.New("gave up")
	only.Passphrase = func(string) ([]byte, error) { return nil, gaveUp }
	if _, err := Signer(t.Context(), only); !errors.Is(err, gaveUp) {
		t.Errorf("got %v", err)
	}

	// Without the .pub beside it the new format still tells the public half; the old PEM does not.
	old := w.make(t, "old", testPassphrase, "-t", "rsa", "-b", "2048", "-m", "PEM")
	for name, key := range map[string]ssh.PublicKey{"id_ed25519": ed, "old": old} {
		c := w.config()
		c.KeyFile = w.path(name)
		w.asked, w.answers = nil, []string{"wrong", testPassphrase}
		wantCandidates(t, c, key)
		wantSigner(t, c, key)
		if len(w.asked) != 2 {
			t.Errorf("%s: asked %d times", name, len(w.asked))
		}
		if err := os.Remove(w.path(name + ".pub")); err != nil {
			t.Fatal(err)
		}
	}
	c = w.config()
	c.KeyFile = w.path("id_ed25519")
	wantCandidates(t, c, ed)
	c.KeyFile = w.path("old")
	_, err = Candidates(t.Context(), c)
	wantCode(t, err, wire.KeyUnusable, "ssh-keygen -y")
}

func TestKeysInAgent(t *testing.T) {
	w := newWallet(t)
	ed := w.make(t, "id_ed25519", testPassphrase, "-t", "ed25519")
	rsa := w.make(t, "other_rsa", "", "-t", "rsa", "-b", "2048")
	ec := w.make(t, "other_ec", "", "-t", "ecdsa", "-b", "384")
	weak := w.make(t, "weak", "", "-t", "rsa", "-b", "1024")
	w.startAgent(t, "weak", "other_rsa", "other_ec")

	wantCandidates(t, w.config(), rsa, ec, ed)
	wantSigner(t, w.config(), rsa)
	for _, key := range []ssh.PublicKey{rsa, ec} {
		c := w.config()
		c.Wanted = func(k ssh.PublicKey) bool { return same(k, key) }
		wantSigner(t, c, key)
	}
	_, _, err := SignerFor(t.Context(), w.config(), weak)
	wantCode(t, err, wire.KeyUnusable, "neither in ssh-agent")
	if len(w.asked) != 0 {
		t.Errorf("asked for %q", w.asked)
	}

	// A signer outlives the context of its search.
	ctx, cancel := context.WithCancel(t.Context())
	signer, closer, err := SignerFor(ctx, w.config(), rsa)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := certs.SignSSH(rand.Reader, signer, "n", nil); err != nil {
		t.Error(err)
	}
	if err := closer.Close(); err != nil {
		t.Error(err)
	}
	if _, err := certs.SignSSH(rand.Reader, signer, "n", nil); err == nil {
		t.Error("signs after Close")
	}
}

func TestKeyFileOption(t *testing.T) {
	w := newWallet(t)
	w.make(t, "id_ed25519", "", "-t", "ed25519") // must not be used
	mine := w.make(t, "mine", testPassphrase, "-t", "ed25519")
	away := w.make(t, "away", "", "-t", "ed25519")
	beside := w.make(t, "beside", "", "-t", "ecdsa")
	w.startAgent(t, "away")
	if err := os.Remove(w.path("away")); err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]ssh.PublicKey{
		"mine": mine, "mine.pub": mine, "away.pub": away, "beside": beside, "beside.pub": beside,
	} {
		c := w.config()
		c.KeyFile = w.path(name)
		wantCandidates(t, c, key)
		wantSigner(t, c, key)
	}
	if len(w.asked) != 2 {
		t.Errorf("asked for %q", w.asked)
	}
	// The agent spares the passphrase.
	w.asked = nil
	run(t, "ssh-keygen", "-q", "-p", "-P", testPassphrase, "-N", "", "-f", w.path("mine"))
	w.startAgent(t, "mine")
	run(t, "ssh-keygen", "-q", "-p", "-P", "", "-N", testPassphrase, "-f", w.path("mine"))
	c := w.config()
	c.KeyFile = w.path("mine")
	wantSigner(t, c, mine)
	if len(w.asked) != 0 {
		t.Errorf("asked for %q", w.asked)
	}
	c.KeyFile = w.path("away.pub") // not in this agent
	_, err := Candidates(t.Context(), c)
	wantCode(t, err, wire.KeyUnusable, "away.pub")
}

func TestUnusableKeyFiles(t *testing.T) {
	w := newWallet(t)
	w.make(t, "open", "", "-t", "ed25519")
	w.make(t, "weak", "", "-t", "rsa", "-b", "1024")
	w.make(t, "a", "", "-t", "ed25519")
	w.make(t, "b", testPassphrase, "-t", "rsa", "-b", "2048", "-m", "PEM")
	good, err := os.ReadFile(w.path("open"))
	if err != nil {
		t.Fatal(err)
	}
	pubA, err := os.ReadFile(w.path("a.pub"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(
		os.Chmod(w.path("open"), 0o644),
		os.WriteFile(w.path("empty"), nil, 0o600),
		os.WriteFile(w.path("rubbish"), []byte("rubbish\n"), 0o600),
		os.WriteFile(w.path("cut"), good[:len(good)/2], 0o600),
		os.WriteFile(w.path("big"), bytes.Repeat([]byte("#"), maxKeyFile+1), 0o600),
		os.WriteFile(w.path("two.pub"), append(bytes.Clone(pubA), pubA...), 0o600),
		os.WriteFile(w.path("alone.pub"), pubA, 0o600),
		os.WriteFile(w.path("b.pub"), pubA, 0o600), // of another key
		syscall.Mkfifo(w.path("fifo"), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"open", "weak", "empty", "rubbish", "cut", "big", "two.pub", "alone.pub", "b", "fifo", "missing", "."} {
		c := w.config()
		c.KeyFile = w.path(name)
		_, err := Signer(t.Context(), c)
		wantCode(t, err, wire.KeyUnusable, strings.TrimSuffix(w.path(name), ".pub"))
	}
	// A bad usual file is named when there is nothing better, and passed over when there is.
	if err := os.Rename(w.path("rubbish"), w.path("id_ed25519")); err != nil {
		t.Fatal(err)
	}
	_, err = Signer(t.Context(), w.config())
	wantCode(t, err, wire.KeyUnusable, "id_ed25519")
	rsa := w.make(t, "id_rsa", "", "-t", "rsa", "-b", "2048")
	wantSigner(t, w.config(), rsa)
}

// Keys come as other programs write them. What cannot be read says what it is, and the way out.
func TestForeignKeyFiles(t *testing.T) {
	w := newWallet(t)
	ed := w.make(t, "ed", "", "-t", "ed25519")
	w.make(t, "rsa", "", "-t", "rsa", "-b", "2048")
	locked := w.make(t, "locked", testPassphrase, "-t", "ed25519")
	empty := w.path("empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(name string) string {
		data, err := os.ReadFile(w.path(name))
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	wide := func(text string) (out []byte) { // UTF-16, as Windows writes it
		out = []byte("\xff\xfe")
		for _, c := range []byte(text) {
			out = append(out, c, 0)
		}
		return out
	}
	run(t, "ssh-keygen", "-q", "-s", w.path("rsa"), "-I", "id", "-n", "ann", w.path("ed.pub"))
	run(t, "ssh-keygen", "-q", "-p", "-P", "", "-N", testPassphrase, "-m", "PKCS8", "-f", w.path("rsa"))
	if err := errors.Join(
		os.WriteFile(w.path("wide"), wide(read("ed")), 0o600),
		os.WriteFile(w.path("dos"), []byte("\ufeff"+strings.ReplaceAll(read("locked"), "\n", "\r\n")), 0o600),
		os.WriteFile(w.path("wide.pub"), wide(read("ed.pub")), 0o600),
		os.WriteFile(w.path("pkcs8"), []byte(read("rsa")), 0o600),
	); err != nil {
		t.Fatal(err)
	}
	run(t, "puttygen", "-q", "-t", "ed25519", "-C", "putty", "--new-passphrase", empty, "-o", w.path("putty.ppk"))
	run(t, "puttygen", w.path("putty.ppk"), "-O", "private-openssh-new", "-o", w.path("putty"))
	run(t, "chmod", "600", w.path("putty"))
	putty, err := ReadPublicKeyFile(w.path("putty"))
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]ssh.PublicKey{"wide": ed, "dos": locked, "wide.pub": ed} {
		c := w.config()
		c.KeyFile = w.path(name)
		wantCandidates(t, c, key)
		wantSigner(t, c, key)
	}
	if key, err := ReadPublicKeyFile(w.path("putty.ppk")); err != nil || !same(key, putty) {
		t.Errorf("the public half of a .ppk: %v", err)
	}
	for name, why := range map[string]string{
		"ed-cert.pub": "is an SSH certificate", "putty.ppk": "private key in PuTTY's format", "pkcs8": "ssh-keygen -p -f " + w.path("pkcs8"),
	} {
		c := w.config()
		c.KeyFile = w.path(name)
		_, err := Signer(t.Context(), c)
		wantCode(t, err, wire.KeyUnusable, "")
		if !strings.Contains(wire.DetailOf(err)+wire.HintOf(err), why) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w.startAgent(t, "putty") // which has it in a form that it reads
	c := w.config()
	c.KeyFile = w.path("putty.ppk")
	wantSigner(t, c, putty)
}

func TestAgentThatFails(t *testing.T) {
	w := newWallet(t)
	dir := t.TempDir()
	w.agent = filepath.Join(dir, "nobody")
	_, err := Signer(t.Context(), w.config())
	wantCode(t, err, wire.NoSSHPubkey, "ssh-agent does not answer")
	ed := w.make(t, "id_ed25519", "", "-t", "ed25519")
	wantSigner(t, w.config(), ed) // the files do

	// One that takes the question and says nothing is left when the context ends.
	w.agent = filepath.Join(dir, "mute")
	l, err := net.Listen("unix", w.agent)
	if err != nil {
		t.Fatal(err)
	}
	accepted := make(chan net.Conn, 1)
	go func() {
		c, err := l.Accept()
		if err == nil {
			accepted <- c
		}
		close(accepted)
	}()
	ctx, cancel := context.WithCancelCause(t.Context())
	listed := make(chan error, 1)
	go func() {
		_, err := Candidates(ctx, w.config())
		listed <- err
	}()
	conn := <-accepted
	if conn == nil {
		t.Fatal("nobody asks")
	}
	defer conn.Close()
	defer l.Close()
	cancel(wire.Errorf(wire.Cancelled, "test"))
	select {
	case err := <-listed:
		wantCode(t, err, wire.Cancelled, "test")
	case <-time.After(patience):
		t.Fatal("waits for ever")
	}
}

func FuzzReadIdentity(f *testing.F) {
	f.Add([]byte("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEA\n-----END OPENSSH PRIVATE KEY-----\n"))
	f.Add([]byte("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIIVJ2U7KNZuWqzdCJKnUaaSDjVZt8nfoVPfZtEOJCpvb c\n"))
	f.Add([]byte("-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"))
	path := filepath.Join(f.TempDir(), "key")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		id, err := readIdentity(path)
		if err == nil && certs.AcceptableKey(id.public) != nil {
			t.Errorf("%q is taken", data)
		}
		if err != nil && wire.CodeOf(err) != wire.KeyUnusable {
			t.Errorf("%q: %v", data, err)
		}
	})
}
