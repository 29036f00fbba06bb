package account

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Shadow is what shadow(5) says of an account. Only root can read it.
type Shadow struct {
	Locked bool // the password begins with "!"

	// In days, those of a point of time since 1970; negative: not set.
	changed, most, inactive, expires int64
}

// Shadow is the entry of a login. ok is false where there is none.
func (d Database) Shadow(ctx context.Context, login string) (s Shadow, ok bool, err error) {
	if !ValidLogin(login) {
		return Shadow{}, false, nil
	}
	line, err := d.entry(ctx, "shadow", 0, login)
	if err != nil {
		return Shadow{}, false, fmt.Errorf("read shadow entry of %s: %w", login, err)
	}
	s, name, ok := parseShadow(line)
	return s, ok && name == login, nil
}

// parseShadow reads one entry of shadow(5), without its newline.
func parseShadow(line string) (s Shadow, login string, ok bool) {
	f := strings.Split(line, ":")
	if len(f) < 8 {
		return Shadow{}, "", false
	}
	return Shadow{
		Locked: strings.HasPrefix(f[1], "!"), changed: day(f[2]), most: day(f[4]), inactive: day(f[6]), expires: day(f[7]),
	}, f[0], true
}

// Expired says whether the account has expired.
func (s Shadow) Expired(now time.Time) bool { return s.expires >= 0 && today(now) > s.expires }

// PasswordExpired says whether the password is so old that it cannot even be changed any more.
func (s Shadow) PasswordExpired(now time.Time) bool {
	return s.changed >= 0 && s.most >= 0 && s.inactive >= 0 && today(now) > s.changed+s.most+s.inactive
}

func today(now time.Time) int64 { return now.Unix() / int64(24*time.Hour/time.Second) }

// day reads a number of days; -1 where there is none.
func day(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 32)
	if err != nil || n < 0 {
		return -1
	}
	return n
}
