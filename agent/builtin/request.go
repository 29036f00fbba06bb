package builtin

import (
	"regexp"
	"strings"
	"sync"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"
)

// The payloads of channel requests, RFC 4254 section 6.
type (
	ptyRequest struct {
		Term                      string
		Cols, Rows, Width, Height uint32
		Modes                     string
	}
	sizeRequest      struct{ Cols, Rows, Width, Height uint32 }
	execRequest      struct{ Command string }
	subsystemRequest struct{ Name string }
	envRequest       struct{ Name, Value string }
	signalRequest    struct{ Name string }
	exitStatus       struct{ Status uint32 }
	exitSignal       struct {
		Name     string
		Core     bool
		Message  string
		Language string
	}
)

// The payloads of forwards, RFC 4254 section 7 and OpenSSH's PROTOCOL, 2.4.
type (
	dialTCP struct {
		Host       string
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	dialUnix struct {
		Path      string
		Reserved  string
		Reserved2 uint32
	}
	listenTCP struct {
		Host string
		Port uint32
	}
	listenedTCP struct{ Port uint32 }
	listenUnix  struct{ Path string }
	arrivedTCP  struct {
		Host       string // of the listener, as it was asked for
		Port       uint32
		Origin     string
		OriginPort uint32
	}
	arrivedUnix struct{ Path, Reserved string }
)

// maxDimension is the largest width or height of a terminal, in cells. No screen has more, and
// programs would allocate memory for it.
const maxDimension = 1000

// winsize is the size that the terminal gets. A dimension of 0 means unknown: then that of was stays.
func winsize(cols, rows uint32, was unix.Winsize) unix.Winsize {
	clamp := func(n uint32, was uint16) uint16 {
		if n == 0 {
			return was
		}
		return uint16(min(n, maxDimension))
	}
	return unix.Winsize{Col: clamp(cols, was.Col), Row: clamp(rows, was.Row)}
}

var (
	termName    = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[A-Za-z0-9._+-]{1,32}\z`) })
	localeName  = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\ALC_[A-Z]{1,32}\z`) })
	localeValue = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`\A[A-Za-z0-9._@:=,+-]{0,64}\z`) }) // no "/": old versions of glibc read the language from such a path
)

// allowedEnv says whether a peer may set a variable: the kind of terminal, and the language.
// Anything else (LD_PRELOAD, BASH_ENV, GLIBC_TUNABLES) could change what programs do.
func allowedEnv(e envRequest) bool {
	switch {
	case e.Name == "TERM":
		return termName().MatchString(e.Value)
	case e.Name == "LANG", localeName().MatchString(e.Name):
		return localeValue().MatchString(e.Value)
	}
	return false
}

// signalNamed is a signal that a peer may send, RFC 4254 section 6.9.
func signalNamed(name string) (unix.Signal, bool) {
	switch name {
	case "ABRT", "ALRM", "FPE", "HUP", "ILL", "INT", "KILL", "PIPE", "QUIT", "SEGV", "TERM", "USR1", "USR2":
		return unix.SignalNum("SIG" + name), true
	}
	return 0, false
}

// signalName is the name of a signal that ended a process, in the form that exit-signal has: names
// that are not in the RFC end in a domain.
func signalName(s unix.Signal) string {
	name := strings.TrimPrefix(unix.SignalName(s), "SIG")
	if _, ok := signalNamed(name); ok {
		return name
	}
	return name + "@openssh.com"
}

func parse[T any](payload []byte) (T, bool) {
	var v T
	err := ssh.Unmarshal(payload, &v)
	return v, err == nil
}
