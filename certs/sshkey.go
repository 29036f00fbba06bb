package certs

import (
	"bytes"
	"crypto/x509"
	"encoding/base64"
	"encoding/binary"
	"encoding/pem"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf16"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// ParsePublicKey reads one SSH public key in the forms in which people have them: a line as in a .pub file, RFC 4716
// (which PuTTYgen saves), or PEM; see [KeyText] for the text itself. The error is [wire.KeyUnusable]. Its detail says
// what else it is and begins with a verb, so that a caller can put the name of a file, or "this", before it. It repeats
// nothing of the text, which may be a secret.
func ParsePublicKey(data []byte) (key ssh.PublicKey, comment string, err error) {
	text := KeyText(data)
	if len(bytes.TrimSpace(text)) == 0 {
		return nil, "", notOne("is empty")
	}
	switch {
	case IsPuTTY(text), privateKey.Match(text):
		return nil, "", notOne("is a private key, which stays with its owner: give the public one, in OpenSSH the file beside it that ends in .pub. If it got here by a mistake, make a new key")
	case bytes.Contains(text, []byte(beginSSH2)):
		return parseSSH2(string(text))
	}
	if block, _ := pem.Decode(text); block != nil {
		key, err := parsePEM(block)
		return key, "", err
	}
	return parseLine(text)
}

// KeyText is the text of a key file in UTF-8, without a byte order mark and with line feeds: Windows writes UTF-16, and
// editors there put a mark in front.
func KeyText(data []byte) []byte {
	var order binary.ByteOrder
	switch {
	case bytes.HasPrefix(data, []byte("\xff\xfe")):
		order, data = binary.LittleEndian, data[2:]
	case bytes.HasPrefix(data, []byte("\xfe\xff")):
		order, data = binary.BigEndian, data[2:]
	case len(data) >= 2 && data[0] != 0 && data[1] == 0: // no key begins with a NUL, and all of them with ASCII
		order = binary.LittleEndian
	case len(data) >= 2 && data[0] == 0 && data[1] != 0:
		order = binary.BigEndian
	}
	if order != nil {
		units := make([]uint16, len(data)/2)
		for i := range units {
			units[i] = order.Uint16(data[2*i:])
		}
		data = []byte(string(utf16.Decode(units)))
		clear(units)
	}
	data = bytes.TrimPrefix(data, []byte("\ufeff"))
	if bytes.IndexByte(data, '\r') < 0 {
		return data
	}
	return bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
}

// IsPuTTY says whether a text is a private key in PuTTY's own format.
func IsPuTTY(text []byte) bool {
	return bytes.HasPrefix(bytes.TrimSpace(text), []byte("PuTTY-User-Key-File-"))
}

// ParsePuTTY reads the public half of a private key in PuTTY's format (.ppk), which is in it in the clear.
func ParsePuTTY(text []byte) (ssh.PublicKey, error) {
	lines := strings.Split(string(text), "\n")
	for i, l := range lines {
		count, ok := strings.CutPrefix(l, "Public-Lines: ")
		if !ok {
			continue
		}
		n, err := strconv.Atoi(strings.TrimSpace(count))
		if err != nil || n < 1 || n > len(lines)-i-1 {
			break
		}
		if blob, err := base64.StdEncoding.DecodeString(strings.Join(lines[i+1:i+1+n], "")); err == nil {
			if key, err := ssh.ParsePublicKey(blob); err == nil {
				return key, nil
			}
		}
		break
	}
	return nil, notOne("is a damaged key of PuTTY's")
}

const (
	beginSSH2 = "---- BEGIN SSH2 PUBLIC KEY ----"
	endSSH2   = "---- END SSH2 PUBLIC KEY ----"
)

// privateKey fits the first line of private keys in PEM and in the format of ssh.com.
var privateKey = regexp.MustCompile(`-{4,5} ?BEGIN [A-Z0-9 ]*PRIVATE KEY`)

// keyType fits what a public key's line begins with, after options.
var keyType = regexp.MustCompile(`(?:^|\s)(ssh-|ecdsa-sha2-|sk-ssh-|sk-ecdsa-)[a-z0-9@.-]+\s`)

// notOne is the error of a text that is no public key: ssh-agent, of which the code's own hint speaks, would not take it either.
func notOne(why string) error {
	return (&wire.Error{Code: wire.KeyUnusable, Detail: why}).
		Advise("give the one line that ssh-keygen has written into the .pub file beside the private key, or that file")
}

// parseSSH2 reads RFC 4716.
func parseSSH2(text string) (key ssh.PublicKey, comment string, err error) {
	if n := strings.Count(text, beginSSH2); n > 1 {
		return nil, "", several(n)
	}
	_, text, _ = strings.Cut(text, beginSSH2)
	text, _, whole := strings.Cut(text, endSSH2)
	var body strings.Builder
	header := ""
	for l := range strings.Lines(text) {
		l = strings.TrimSpace(l)
		switch {
		case header != "" || strings.Contains(l, ":"): // a backslash at the end continues a header's line
			header += strings.TrimSuffix(l, `\`)
			if strings.HasSuffix(l, `\`) {
				continue
			}
			if tag, value, _ := strings.Cut(header, ":"); strings.EqualFold(tag, "Comment") {
				comment = strings.Trim(strings.TrimSpace(value), `"`)
			}
			header = ""
		default:
			body.WriteString(l)
		}
	}
	blob, err := base64.StdEncoding.DecodeString(body.String())
	if err == nil && whole {
		if key, err = ssh.ParsePublicKey(blob); err == nil {
			return key, comment, noCertificate(key)
		}
	}
	return nil, "", notOne("is a damaged SSH public key (RFC 4716)")
}

// parsePEM reads what `ssh-keygen -e -m pkcs8` and `-m pem` write.
func parsePEM(block *pem.Block) (ssh.PublicKey, error) {
	var public any
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		return nil, notOne("is a certificate for TLS (X.509) and no SSH public key")
	default:
		return nil, notOne(fmt.Sprintf("is no SSH public key: it is PEM of the type %q", wire.Printable(block.Type)))
	}
	if err == nil {
		var key ssh.PublicKey
		if key, err = ssh.NewPublicKey(public); err == nil {
			return key, nil
		}
	}
	return nil, notOne("is a public key in PEM that SSH does not know")
}

// parseLine reads a line of a .pub file.
func parseLine(text []byte) (ssh.PublicKey, string, error) {
	var lines [][]byte
	for l := range bytes.Lines(text) {
		if l = bytes.TrimSpace(l); len(l) > 0 && l[0] != '#' {
			lines = append(lines, l)
		}
	}
	if len(lines) == 0 {
		return nil, "", notOne("holds comments and no key")
	}
	keys := 0
	for _, l := range lines {
		if _, _, _, _, err := ssh.ParseAuthorizedKey(l); err == nil {
			keys++
		}
	}
	key, comment, options, _, err := ssh.ParseAuthorizedKey(lines[0])
	switch {
	case keys > 1:
		return nil, "", several(keys)
	case err == nil && len(options) > 0:
		return nil, "", notOne("has something before the key, such as options or a host's name: give the line from its type on (ssh-ed25519, for example)")
	case err == nil && len(lines) == 1:
		return key, comment, noCertificate(key)
	case keys == 1:
		return nil, "", notOne("holds other lines beside a public key")
	case bytes.HasPrefix(lines[0], []byte("SHA256:")), bytes.HasPrefix(lines[0], []byte("MD5:")):
		return nil, "", notOne("is the fingerprint of a key: give the key itself")
	case keyType.Match(append(bytes.Clone(lines[0]), ' ')):
		return nil, "", notOne("is a damaged SSH public key: it is cut, or broken into several lines")
	}
	return nil, "", notOne("is not an SSH public key, such as the line in a .pub file")
}

func several(n int) error {
	return notOne(fmt.Sprintf("holds %d public keys, and one is expected", n))
}

func noCertificate(k ssh.PublicKey) error {
	if _, ok := k.(*ssh.Certificate); ok {
		return notOne("is an SSH certificate and no key: give the key that it was made for, the file without -cert in its name")
	}
	return nil
}
