package ssh

import (
	"regexp"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
)

// modes is no terminal mode: the server's own defaults are the right ones (RFC 4254, 8).
var modes = []byte{0}

func ptyRequest(term string, size wire.Size) []byte {
	if !validTerm.MatchString(term) {
		term = "xterm-256color"
	}
	size = size.Clamp()
	return ssh.Marshal(struct {
		Term             string
		Cols, Rows, W, H uint32
		Modes            string
	}{term, uint32(size.Cols), uint32(size.Rows), 0, 0, string(modes)})
}

var (
	validTerm = regexp.MustCompile(`^[a-zA-Z0-9.+-]{1,32}$`)
	validEnv  = regexp.MustCompile(`^(LANG|LC_[A-Z]{1,32})$`)
	validLang = regexp.MustCompile(`^[A-Za-z0-9_.@:-]{1,64}$`)
)

// Env keeps of a viewer's environment what may reach a server: the language.
func Env(in map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range in {
		if validEnv.MatchString(k) && validLang.MatchString(v) && len(out) < 16 {
			out[k] = v
		}
	}
	return out
}
