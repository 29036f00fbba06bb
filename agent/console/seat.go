package console

import (
	"bytes"
	"context"
	"strconv"
	"strings"
)

const maxSessions = 64 // of logind that are looked at

// seat is a session of logind.
type seat struct {
	uid     uint32
	locked  bool
	display string // only with X11, and empty with some display managers
}

// activeSeat asks logind for the active session at a seat. known says whether logind answered at all;
// where it does not (no systemd), the processes have to tell who sits there.
func (c *Console) activeSeat(ctx context.Context) (s *seat, known bool) {
	loginctl := c.programs.find("loginctl")
	if loginctl == "" {
		return nil, false
	}
	list, status, err := c.output(ctx, person{}, c.plainEnv(), loginctl, "list-sessions", "--no-legend", "--no-pager")
	if err != nil || status != 0 {
		return nil, false
	}
	argv := []string{
		loginctl, "show-session", "--no-pager", "-p", "User", "-p", "Class", "-p", "Type", "-p", "Active", "-p", "State",
		"-p", "Remote", "-p", "Seat", "-p", "Display", "-p", "LockedHint",
	}
	asked := len(argv)
	for line := range strings.Lines(string(list)) {
		if f := strings.Fields(line); len(f) > 0 && validWayland(f[0]) && len(argv) < asked+maxSessions {
			argv = append(argv, f[0])
		}
	}
	if len(argv) == asked {
		return nil, true
	}
	text, status, err := c.output(ctx, person{}, c.plainEnv(), argv...)
	if err != nil || status != 0 && len(text) == 0 { // a session may have ended meanwhile
		return nil, false
	}
	for block := range bytes.SplitSeq(text, []byte("\n\n")) {
		f := fields(block)
		uid, ok := number(f["User"])
		if !ok || f["Class"] != "user" || f["Remote"] != "no" || f["Active"] != "yes" || f["State"] == "closing" || f["Seat"] == "" {
			continue
		}
		if f["Type"] != "x11" && f["Type"] != "wayland" && f["Type"] != "tty" { // tty: an X server that startx has started
			continue
		}
		found := &seat{uid: uid, locked: f["LockedHint"] == "yes"}
		if validDisplay(f["Display"]) {
			found.display = number10(f["Display"])
		}
		if f["Seat"] == "seat0" {
			return found, true
		}
		if s == nil {
			s = found
		}
	}
	return s, true
}

// number reads a uid in its canonical form.
func number(s string) (uint32, bool) {
	n, err := strconv.ParseUint(s, 10, 32)
	return uint32(n), err == nil && strconv.FormatUint(n, 10) == s
}
