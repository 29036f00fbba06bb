package console

import (
	"cmp"
	"context"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"scrier/wire"
)

const (
	findTime = 6 * time.Second // for the whole search
	askTime  = 2 * time.Second // for one question to logind, or to an X server
	maxFound = 8               // users whose screens are tried, those with the most processes first
)

// find is the screen to be shared.
func (c *Console) find(ctx context.Context) (*screen, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, findTime, wire.Errorf(wire.ConsoleEmpty, "or it could not be found out in time"))
	defer cancel()
	front, all, err := c.candidates(ctx)
	if err != nil {
		return nil, err
	}
	var last error
	for _, of := range all[:min(len(all), maxFound)] {
		s, err := c.screenOf(ctx, of, front)
		if err != nil {
			last = err
			continue
		}
		s.locked = front != nil && front.locked || hasLocker(of) || c.saverLocked(ctx, s)
		return s, nil
	}
	if ctx.Err() != nil {
		return nil, wire.Cause(ctx, wire.ConsoleEmpty)
	}
	if last != nil && wire.CodeOf(last) != wire.Internal {
		return nil, last
	}
	return nil, &wire.Error{Code: wire.ConsoleEmpty}
}

// candidates are the users who may sit at the screen, the likeliest first, each with their processes.
// front is the session that logind says is active; where it says so, its user is the only candidate.
func (c *Console) candidates(ctx context.Context) (front *seat, all [][]process, err error) {
	asking, cancel := context.WithTimeout(ctx, askTime)
	front, known := c.activeSeat(asking)
	cancel()
	if known && (front == nil || !c.serves(front.uid)) {
		return nil, nil, wire.Errorf(wire.ConsoleEmpty, "logind knows no active session of a user at a seat")
	}
	list, blind := processes(ctx, func(uid uint32) bool { return c.serves(uid) && (front == nil || uid == front.uid) })
	of := map[uint32][]process{}
	for _, p := range list {
		of[p.uid] = append(of[p.uid], p)
	}
	shown := map[uint32]int{}
	for uid, some := range of {
		for _, p := range some {
			if p.display != "" || p.wayland != "" {
				shown[uid]++
			}
		}
		if shown[uid] > 0 || front != nil {
			all = append(all, some)
		}
	}
	if len(all) == 0 && blind {
		return nil, nil, wire.Errorf(wire.ConsoleEmpty, "the environment of users' processes cannot be read (CAP_SYS_PTRACE)")
	}
	slices.SortFunc(all, func(a, b []process) int {
		return cmp.Or(cmp.Compare(shown[b[0].uid], shown[a[0].uid]), cmp.Compare(a[0].uid, b[0].uid))
	})
	return front, all, nil
}

// screenOf looks for the screen of one user.
func (c *Console) screenOf(ctx context.Context, of []process, front *seat) (*screen, error) {
	p, err := c.person(ctx, of[0].uid)
	if err != nil {
		return nil, err
	}
	s := &screen{person: p}
	var displays, sockets []string
	for _, p := range of {
		displays = append(displays, p.display)
		if full := waylandSocket(p.uid, p.runtime, p.wayland); full != "" {
			sockets = append(sockets, full)
		}
	}
	s.wayland, _ = most(sockets)
	s.display, _ = most(displays)
	if s.wayland != "" {
		s.kind, s.runtime = compositor(of), filepath.Dir(s.wayland)
		if s.display != "" && c.reach(ctx, s, of) != nil {
			s.display, s.authority = "", "" // the Wayland screen has no X server beside it
		}
		return s, nil
	}
	var runtimes []string
	for _, p := range of {
		if p.display == s.display {
			runtimes = append(runtimes, p.runtime)
		}
	}
	s.runtime, _ = most(runtimes)
	if front != nil && front.display != "" {
		s.display = front.display
	}
	if s.display == "" {
		return nil, wire.Errorf(wire.ConsoleEmpty, "%s has no screen", p.login)
	}
	return s, c.reach(ctx, s, of)
}

// reach finds the file (XAUTHORITY) with which the user may use the X server, by trying each as the
// user.
func (c *Console) reach(ctx context.Context, s *screen, of []process) error {
	there, auths := xServer(s.display, s.uid)
	if !there {
		return wire.Errorf(wire.ConsoleEmpty, "%s has the display %s, which no X server has", s.login, s.display)
	}
	xdpyinfo, err := c.programs.need("xdpyinfo", "x11-utils")
	if err != nil {
		return err
	}
	var named []string
	for _, p := range of {
		if p.display == s.display {
			named = append(named, p.authority)
		}
	}
	first, _ := most(named)
	tried := map[string]bool{}
	for _, s.authority = range slices.Concat([]string{first}, auths, []string{""}) { // "": ~/.Xauthority, or none at all
		if tried[s.authority] {
			continue
		}
		tried[s.authority] = true
		asking, cancel := context.WithTimeout(ctx, askTime)
		_, status, err := c.output(asking, s.person, c.env(s.person, xEnv(s)...), xdpyinfo)
		cancel()
		if err == nil && status == 0 {
			return nil
		}
	}
	return wire.Errorf(wire.ConsoleEmpty, "%s does not reach the X server of %s", s.login, s.display)
}

// saverLocked asks xscreensaver whether the screen is locked. That it runs says nothing: it always
// does.
func (c *Console) saverLocked(ctx context.Context, s *screen) bool {
	command := c.programs.find("xscreensaver-command")
	if command == "" || s.display == "" {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	out, status, err := c.output(ctx, s.person, c.env(s.person, xEnv(s)...), command, "-time")
	return err == nil && status == 0 && strings.Contains(string(out), "screen locked since")
}
