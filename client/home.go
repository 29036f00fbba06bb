// Package client is the operator's side: what the operator's machine knows of relays, how it proves
// who the operator is, and the terminal.
//
// A relay is trusted by the pin of its CA, compared once by a person, as with ssh's known hosts.
// The login is a certificate of 8 hours for a key that never leaves this machine.
package client

import (
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"scrier/certs"
	"scrier/wire"
)

// Home is the directory of the operator's state: SCRIER_HOME, or scrier in the user's
// configuration directory. Mode 0700, files 0600.
type Home struct{ Dir string }

// FindHome is the home that the environment names.
func FindHome() (Home, error) {
	if dir := os.Getenv("SCRIER_HOME"); dir != "" {
		return Home{dir}, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return Home{}, wire.Errorf(wire.BadConfig, "there is no home directory; set SCRIER_HOME: %w", err)
	}
	return Home{filepath.Join(dir, "scrier")}, nil
}

// known is the file relays.json: the relays that were logged in to.
type known struct {
	Current string           `json:"current"` // host:port of the last login, or of the one that was chosen since
	Relays  map[string]Known `json:"relays"`  // by host:port
}

// Known is what is remembered of a relay; the pin outlives a logout.
type Known struct {
	Pin      string    `json:"pin"`
	Username string    `json:"username,omitempty"`
	Role     string    `json:"role,omitempty"`
	Cluster  string    `json:"cluster,omitempty"`
	KeyFile  string    `json:"key_file,omitempty"` // the SSH key that was named at the login
	Expires  time.Time `json:"expires,omitzero"`
}

func (h Home) path() string { return filepath.Join(h.Dir, "relays.json") }

// pairPath holds the key and certificate for a relay.
func (h Home) pairPath(relay string) string {
	safe := strings.Map(func(r rune) rune {
		if r == '/' || r == 0 || runtime.GOOS == "windows" && strings.ContainsRune(`<>:"\|?*`, r) {
			return '_'
		}
		return r
	}, relay)
	return filepath.Join(h.Dir, "login-"+safe+".pem")
}

func (h Home) load() (known, error) {
	k := known{Relays: map[string]Known{}}
	err := certs.CheckPrivate(h.path()) // whoever can write it decides which relays are trusted
	if errors.Is(err, fs.ErrNotExist) {
		return k, nil
	}
	if err == nil {
		err = certs.CheckTrusted(h.Dir)
	}
	if errors.Is(err, fs.ErrPermission) {
		return k, wire.Errorf(wire.BadConfig, "%w", err).Advise("it belongs to somebody else: set SCRIER_HOME to a folder of yours (default ~/.config/scrier)")
	}
	if _, told := errors.AsType[*wire.Error](err); told {
		return k, err
	}
	var data []byte
	if err == nil {
		data, err = os.ReadFile(h.path())
	}
	if err != nil {
		return k, wire.Errorf(wire.BadConfig, "your logins cannot be read: %w", err).Advise("set SCRIER_HOME to a folder of yours (default ~/.config/scrier)")
	}
	if err := json.Unmarshal(data, &k); err != nil {
		return k, wire.Errorf(wire.BadConfig, "%s is damaged (%w); remove it and log in again", h.path(), err)
	}
	if k.Relays == nil {
		k.Relays = map[string]Known{}
	}
	return k, nil
}

// alone runs f under a lock, as several commands may run at once. It makes the directory.
func (h Home) alone(f func() error) error {
	if err := os.MkdirAll(h.Dir, 0o700); err != nil {
		return wire.Errorf(wire.BadConfig, "cannot make %s: %w", h.Dir, err).Advise("set SCRIER_HOME to a folder of yours (default ~/.config/scrier)")
	}
	lock, err := os.OpenFile(filepath.Join(h.Dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("lock %s: %w", h.Dir, err)
	}
	defer lock.Close()
	if err := lockFile(lock); err != nil {
		return fmt.Errorf("lock %s: %w", h.Dir, err)
	}
	return f()
}

// change edits relays.json.
func (h Home) change(edit func(*known)) error {
	return h.alone(func() error {
		k, err := h.load()
		if err != nil {
			return err
		}
		edit(&k)
		data, err := json.MarshalIndent(k, "", "  ")
		if err != nil {
			return err
		}
		return certs.WriteFile(h.path(), append(data, '\n'))
	})
}

// Login is a login that has not expired, by this machine's clock; the relay may have ended it.
type Login struct {
	Relay string // host:port
	Known
	Roads Roads
	pin   certs.Pin
	cert  *tls.Certificate
}

// Current finds the login to use: the relay that was named, or the current one.
func (h Home) Current(relay string, now time.Time) (Login, error) {
	k, err := h.load()
	if err != nil {
		return Login{}, err
	}
	if relay == "" {
		relay = k.Current
	} else if relay, err = wire.RelayAddress(relay); err != nil {
		return Login{}, err
	}
	r, ok := k.Relays[relay]
	if relay == "" {
		return Login{}, k.noCurrent(now)
	}
	if !ok || r.Username == "" {
		return Login{}, k.notLoggedIn(relay)
	}
	l := Login{Relay: relay, Known: r, Roads: h.roads(time.Now)}
	if l.pin, err = certs.ParsePin(r.Pin); err != nil {
		return Login{}, err
	}
	if !now.Before(r.Expires) {
		return Login{}, wire.Errorf(wire.Expired, "the login at %s was valid until %s", relay, Stamp(r.Expires)).
			Advise("log in again with `scrier login %s`", relay)
	}
	l.cert, err = certs.LoadPair(h.pairPath(relay))
	if errors.Is(err, fs.ErrNotExist) {
		return Login{}, wire.Errorf(wire.Unauthenticated, "you are not logged in at %s", relay).Advise("log in with `scrier login %s`", relay)
	}
	return l, err
}

// noCurrent says that no relay is the current one, and at which there is a login all the same.
func (k known) noCurrent(now time.Time) error {
	var others []string
	for relay := range k.Relays {
		if k.relay(relay).LoggedIn(now) {
			others = append(others, relay)
		}
	}
	if len(others) == 0 {
		return wire.Errorf(wire.Unauthenticated, "you are not logged in at any relay")
	}
	slices.Sort(others)
	return wire.Errorf(wire.Unauthenticated, "no relay is the current one: you have logged out of it").
		Advise("you are still logged in at %s: %s", strings.Join(others, ", "), Choose(others))
}

// Choose says how to go on at one of the relays at which there is a login.
func Choose(relays []string) string {
	name := "RELAY"
	if len(relays) == 1 {
		name = relays[0]
	}
	return "choose it with `scrier relays use " + name + "`, or name it with --relay"
}

// Logout deletes the login at one relay, or at all of them, and returns at which. The pins stay, as
// ssh's known hosts do, unless the caller wants them deleted too.
func (h Home) Logout(relay string, all, pins bool) (forgotten []string, err error) {
	if _, err := os.Stat(h.path()); errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if relay != "" {
		if relay, err = wire.RelayAddress(relay); err != nil {
			return nil, err
		}
	}
	err = h.change(func(k *known) {
		if relay == "" {
			relay = k.Current
		}
		for name, r := range k.Relays {
			if !all && name != relay || r.Username == "" && !pins {
				continue
			}
			if k.Relays[name] = (Known{Pin: r.Pin}); pins {
				delete(k.Relays, name)
			}
			forgotten = append(forgotten, name)
		}
		if slices.Contains(forgotten, k.Current) {
			k.Current = ""
		}
	})
	for _, name := range forgotten {
		if rerr := os.Remove(h.pairPath(name)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
		}
	}
	slices.Sort(forgotten)
	return forgotten, err
}
