package client

import (
	"maps"
	"slices"
	"strings"
	"time"

	"scrier/wire"
)

// KnownRelay is a relay that was logged in to. It stays known behind a logout; then it has no Username.
type KnownRelay struct {
	Relay string // host:port
	Known
	Current bool // commands go to it unless another one is named
}

// LoggedIn says whether there is a login that has not expired, by this machine's clock.
func (r KnownRelay) LoggedIn(now time.Time) bool { return r.Username != "" && now.Before(r.Expires) }

// Relays lists the relays that are known, by their addresses.
func (h Home) Relays() ([]KnownRelay, error) {
	k, err := h.load()
	if err != nil {
		return nil, err
	}
	all := []KnownRelay{}
	for _, name := range slices.Sorted(maps.Keys(k.Relays)) {
		all = append(all, k.relay(name))
	}
	return all, nil
}

func (k known) relay(name string) KnownRelay {
	return KnownRelay{Relay: name, Known: k.Relays[name], Current: name == k.Current}
}

// Last is the login at the current relay, expired or not: the one that is to be renewed. ok is false if there is none.
func (h Home) Last() (last KnownRelay, ok bool, err error) {
	k, err := h.load()
	if err != nil {
		return KnownRelay{}, false, err
	}
	last = k.relay(k.Current)
	return last, last.Username != "", nil
}

// Use makes a relay the current one. There must be a login, but it may have expired.
func (h Home) Use(relay string) (KnownRelay, error) {
	relay, err := wire.RelayAddress(relay)
	if err != nil {
		return KnownRelay{}, err
	}
	k, err := h.load() // nothing is written for a relay that is not known
	if err == nil && k.Relays[relay].Username == "" {
		err = k.notLoggedIn(relay)
	}
	if err != nil {
		return KnownRelay{}, err
	}
	var chosen KnownRelay
	cerr := h.change(func(k *known) {
		if k.Relays[relay].Username == "" { // somebody has logged out meanwhile
			err = k.notLoggedIn(relay)
			return
		}
		k.Current = relay
		chosen = k.relay(relay)
	})
	if cerr != nil {
		err = cerr
	}
	return chosen, err
}

// notLoggedIn says that there is no login at a relay, and at which there is one.
func (k known) notLoggedIn(relay string) error {
	err := wire.Errorf(wire.Unauthenticated, "you are not logged in at %s", relay)
	var others []string
	for name, r := range k.Relays {
		if r.Username != "" {
			others = append(others, name)
		}
	}
	if len(others) == 0 {
		return err.Advise("log in with `scrier login %s`", relay)
	}
	slices.Sort(others)
	return err.Advise("log in with `scrier login %s`; you have a login at %s", relay, strings.Join(others, ", "))
}
