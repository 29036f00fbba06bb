package builtin

import (
	"testing"

	"golang.org/x/sys/unix"

	"scrier/agent/builtin/worker"
)

func FuzzModes(f *testing.F) {
	f.Add("")
	f.Add("\x35\x00\x00\x00\x00\x00")
	f.Add("\x01\x00\x00\x00\xff\x80\x00\x00\x96\x00\xa0\xff")
	f.Fuzz(func(t *testing.T, modes string) {
		was := unix.Termios{Cflag: unix.CS8 | unix.CREAD, Line: 1}
		now := was
		applyModes(&now, modes)
		if now.Cflag != was.Cflag || now.Line != was.Line || now.Ispeed != was.Ispeed || now.Ospeed != was.Ospeed {
			t.Errorf("%q changes what it should not: %+v", modes, now)
		}
	})
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("1 (init) S 0 1 1 0 -1"))
	f.Add([]byte("1 (a) b) (c) Z 0 2 3 0 -1"))
	f.Add([]byte(")"))
	f.Fuzz(func(t *testing.T, stat []byte) {
		// A process chooses its name. Whatever is in it, the fields behind it must be read right.
		if _, _, _, err := worker.ParseStat(stat); err != nil {
			return
		}
		state, group, session, err := worker.ParseStat(append([]byte("7 (x) R 9 9 9 "), stat...))
		s2, g2, n2, _ := worker.ParseStat(stat)
		if err != nil || state != s2 || group != g2 || session != n2 {
			t.Errorf("%q is read in two ways", stat)
		}
	})
}
