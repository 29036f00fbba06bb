package keystest

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// NewKey makes an Ed25519 key.
func NewKey(t testing.TB) (ssh.PublicKey, ssh.Signer) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return s.PublicKey(), s
}

// Flags that a security key sets in its signatures.
const (
	Touched  = 0x01 // somebody touched it
	Verified = 0x04 // and proved who they are, by a PIN or a finger
)

// securityKey is a security key in software, which signs with whatever flags it is told to.
type securityKey struct {
	private ed25519.PrivateKey
	public  ssh.PublicKey
	flags   byte
}

// SecurityKey makes an sk- key whose signatures have these flags.
func SecurityKey(t testing.TB, flags byte) (ssh.PublicKey, ssh.Signer) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	key, err := ssh.ParsePublicKey(ssh.Marshal(struct {
		Name string
		Key  []byte
		App  string
	}{ssh.KeyAlgoSKED25519, public, skApp}))
	if err != nil {
		t.Fatal(err)
	}
	return key, &securityKey{private, key, flags}
}

const skApp = "ssh:"

// PublicKey makes a security key an ssh.Signer.
func (k *securityKey) PublicKey() ssh.PublicKey { return k.public }

// Sign signs as OpenSSH's PROTOCOL.u2f says.
func (k *securityKey) Sign(_ io.Reader, data []byte) (*ssh.Signature, error) {
	app, message := sha256.Sum256([]byte(skApp)), sha256.Sum256(data)
	tail := []byte{k.flags, 0, 0, 0, 1} // and a counter
	signed := slices.Concat(app[:], tail, message[:])
	return &ssh.Signature{Format: ssh.KeyAlgoSKED25519, Blob: ed25519.Sign(k.private, signed), Rest: tail}, nil
}

// FixedKey makes the same Ed25519 key for the same n.
func FixedKey(t testing.TB, n byte) ssh.PublicKey {
	t.Helper()
	key, err := ssh.NewPublicKey(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{n}, ed25519.SeedSize)).Public())
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Text is a key as it stands on a line.
func Text(key ssh.PublicKey) string {
	return strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
}

// RSAKey makes the public half of an RSA key of some size, which has no private half.
func RSAKey(t testing.TB, bits int) ssh.PublicKey {
	t.Helper()
	// Only the size matters: a modulus need not be a product of primes to be written on a line.
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	n.Add(n, big.NewInt(12345))
	key, err := ssh.NewPublicKey(&rsa.PublicKey{N: n, E: 65537})
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Marker is the first word of the comment on an ephemeral key's line.
const Marker = "scrier-ephemeral"

// ShellOptions are the options by which an ephemeral key's line gives a shell and commands; OldOptions are those
// of agents that gave nothing else.
const (
	ShellOptions = `restrict,tunnel="2147483645",pty`
	OldOptions   = `restrict,pty`
)

// NewLine is the line of an ephemeral key, written without the code under test.
func NewLine(t testing.TB, agent wire.EnvoyID, expiry time.Time) string {
	t.Helper()
	key, _ := NewKey(t)
	return fmt.Sprintf(ShellOptions+`,from="127.0.0.1,::1",expiry-time="%s" %s %s agent=%s session=%s`,
		expiry.UTC().Format("20060102150405Z"), Text(key), Marker, agent, wire.NewSessionID())
}

// OldLine is line as an older agent would have written it.
func OldLine(line string) string { return strings.Replace(line, ShellOptions, OldOptions, 1) }

// NearMisses are lines that are almost like one of ours, and must be left alone (H17).
func NearMisses(line string) map[string]string {
	key := line[strings.Index(line, "ssh-ed25519"):strings.Index(line, " scrier")]
	comment := line[strings.Index(line, "scrier-ephemeral"):]
	options := line[:strings.Index(line, " ssh-")]
	m := map[string]string{
		"marker in the comment of a user's key": key + " me " + comment,
		"no options":                            key + " " + comment,
		"marker alone":                          key + " scrier-ephemeral",
		"marker at the end":                     line + " and mine",
		"blank at the end":                      line + " ",
		"carriage return":                       line + "\r",
		"blank before":                          " " + line,
		"two blanks":                            strings.Replace(line, " ssh", "  ssh", 1),
		"tab":                                   strings.Replace(line, " ssh", "\tssh", 1),
		"no restrict":                           strings.Replace(line, "restrict,", "", 1),
		"another option":                        strings.Replace(line, "pty,", "pty,user-rc,", 1),
		"another option, of old":                strings.Replace(OldLine(line), "pty,", "pty,agent-forwarding,", 1),
		"no pty, of old":                        strings.Replace(OldLine(line), "pty,", "", 1),
		"command":                               strings.Replace(line, "pty,", `pty,command="x",`, 1),
		"command that is no use":                strings.Replace(line, "pty,", `pty,command="internal-sftp",`, 1),
		"another command for files":             strings.Replace(line, "pty,", `command="internal-sftp -R -d /",`, 1),
		"another tunnel":                        strings.Replace(line, "2147483645", "0", 1),
		"forwards, and no direction":            strings.Replace(line, "pty,", `pty,port-forwarding,permitopen="255.255.255.255:1",permitlisten="255.255.255.255:1",`, 1),
		"permitopen without forwards":           strings.Replace(line, "pty,", `pty,permitopen="localhost:80",`, 1),
		"permitopen not canonical":              strings.Replace(line, "pty,", `pty,port-forwarding,permitopen="localhost/80",`, 1),
		"permitopen twice":                      strings.Replace(line, "pty,", `pty,port-forwarding,permitopen="localhost:80",permitopen="localhost:80",`, 1),
		"permitlisten before permitopen":        strings.Replace(line, "pty,", `pty,port-forwarding,permitlisten="*:80",permitopen="localhost:80",`, 1),
		"permitlisten of a bare port":           strings.Replace(line, "pty,", `pty,port-forwarding,permitlisten="80",`, 1),
		"other order":                           strings.Replace(line, "pty,", "agent-forwarding,pty,", 1),
		"upper case option":                     strings.Replace(line, "restrict", "Restrict", 1),
		"no from":                               strings.Replace(line, `from="127.0.0.1,::1",`, "", 1),
		"from a name":                           strings.Replace(line, "127.0.0.1", "localhost", 1),
		"from empty":                            strings.Replace(line, "127.0.0.1,::1", "", 1),
		"from network":                          strings.Replace(line, "127.0.0.1", "127.0.0.0/8", 1),
		"from not canonical":                    strings.Replace(line, "::1", "0:0::1", 1),
		"from with nine addresses":              strings.Replace(line, "::1", strings.Repeat("::1,", 8)+"::1", 1),
		"no expiry":                             options[:strings.Index(options, ",expiry")] + " " + key + " " + comment,
		"expiry of a day":                       options[:strings.Index(options, "expiry")] + `expiry-time="20200101" ` + key + " " + comment,
		"expiry with z":                         strings.Replace(line, `Z"`, `z"`, 1),
		"expiry nonsense":                       options[:strings.Index(options, "expiry")] + `expiry-time="20201399000000Z" ` + key + " " + comment,
		"another type":                          strings.Replace(line, "ssh-ed25519", "ssh-rsa", 1),
		"key cut":                               strings.Replace(line, key, key[:len(key)-4], 1),
		"key not base64":                        strings.Replace(line, key, key[:len(key)-1]+"!", 1),
		"key of another type":                   strings.Replace(line, key, "ssh-ed25519 "+strings.Repeat("A", 68), 1),
		"marker upper case":                     strings.Replace(line, "scrier-", "Scrier-", 1),
		"marker longer":                         strings.Replace(line, "ephemeral ", "ephemerals ", 1),
		"no agent":                              line[:strings.Index(line, " agent=")] + line[strings.Index(line, " session="):],
		"no session":                            line[:strings.Index(line, " session=")],
		"agent in upper case":                   strings.Replace(line, comment, "scrier-ephemeral agent="+strings.ToUpper(comment[23:59])+comment[59:], 1),
		"session in braces":                     strings.Replace(line, "session=", "session={", 1) + "}",
		"session cut":                           line[:len(line)-1],
		"session longer":                        line + "0",
		"agent and session swapped":             line[:strings.Index(line, "agent=")] + "session=" + line[len(line)-36:] + " agent=" + line[strings.Index(line, "agent=")+6:][:36],
		"two hashes":                            "#" + "#" + line[1:],
		"hash before":                           "#" + line,
		"a NUL":                                 strings.Replace(line, "pty", "p\x00y", 1),
	}
	return m
}
