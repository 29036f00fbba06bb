package line

import (
	"strings"
	"time"
)

// Zone says how sshd reads a time in an option.
type Zone struct {
	Local *time.Location
	UTC   bool // it understands the suffixes Z and UTC, as OpenSSH does from 9.1 on
}

// parseTime does what sshd's parse_absolute_time does: it reads YYYYMMDD[HHMM[SS]], with or without Z
// or UTC. The key works up to this second.
func parseTime(s string, z Zone) (time.Time, answer) {
	body, utc := s, false
	if n := len(s) - 1; n > 0 && (s[n] == 'Z' || s[n] == 'z') {
		body, utc = s[:n], true
	} else if n := len(s) - 3; n > 0 && strings.EqualFold(s[n:], "UTC") {
		body, utc = s[:n], true
	}
	if utc && !z.UTC {
		return time.Time{}, no
	}
	if len(body) != 8 && len(body) != 12 && len(body) != 14 {
		return time.Time{}, no
	}
	if !digits(body, 8, 14) {
		// C's strptime accepts blanks and signs in some places, and not every libc in the same.
		return time.Time{}, maybe
	}
	number := func(from, to int) int {
		n := 0
		for _, c := range body[min(from, len(body)):min(to, len(body))] {
			n = n*10 + int(c-'0')
		}
		return n
	}
	year, month, day := number(0, 4), number(4, 6), number(6, 8)
	hour, minute, second := number(8, 10), number(10, 12), number(12, 14)
	if month < 1 || month > 12 || day < 1 || day > 31 || hour > 23 || minute > 59 || second > 61 {
		return time.Time{}, no
	}
	var t time.Time
	if utc {
		t = time.Date(year, time.Month(month), day, hour, minute, second, 0, time.UTC)
	} else {
		// sshd calls mktime with tm_isdst 0, so the digits mean standard time, in summer too.
		t = time.Date(year, time.Month(month), day, hour, minute, second, 0, z.Local)
		if t.IsDST() {
			t = t.Add(time.Hour)
		}
	}
	if t.Unix() <= 0 { // sshd refuses both
		return time.Time{}, no
	}
	return t, yes
}
