package ssh

import (
	"regexp"
	"sync"

	"golang.org/x/crypto/ssh"
)

// Opcodes of terminal modes (RFC 4254, 8; RFC 8160 for IUTF8).
const (
	modeEnd   = 0
	modeIUTF8 = 42
	modeLast  = 159 // above it an argument has another length
	maxModes  = 1 << 10
)

// usual are the modes of a terminal that tells none: the server's own defaults, and UTF-8, so that one Backspace
// takes one character away.
var usual = []byte{modeIUTF8, 0, 0, 0, 1, modeEnd}

// Modes are a viewer's terminal modes if they are well formed, else the usual.
func Modes(in []byte) []byte {
	if len(in) > maxModes {
		return usual
	}
	for rest := in; len(rest) > 0; rest = rest[5:] {
		switch {
		case rest[0] == modeEnd:
			if len(rest) > 1 || len(in) == 1 {
				return usual
			}
			return in
		case rest[0] > modeLast || len(rest) < 6:
			return usual
		}
	}
	return usual
}

func ptyRequest(p *PTY) []byte {
	term, size := p.Term, p.Size
	if !validTerm().MatchString(term) {
		term = "xterm-256color"
	}
	size = size.Clamp()
	return ssh.Marshal(struct {
		Term             string
		Cols, Rows, W, H uint32
		Modes            string
	}{term, uint32(size.Cols), uint32(size.Rows), 0, 0, string(Modes(p.Modes))})
}

var (
	validTerm = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[a-zA-Z0-9.+-]{1,32}$`) })
	validEnv  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^(LANG|LC_[A-Z]{1,32})$`) })
	validLang = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[A-Za-z0-9_.@:-]{1,64}$`) })
)

// Env keeps of a viewer's environment what may reach a server: the language.
func Env(in map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		if validEnv().MatchString(k) && validLang().MatchString(v) && len(out) < 16 {
			out[k] = v
		}
	}
	return out
}
