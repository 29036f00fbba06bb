package console

import (
	"context"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"

	"scrier/agent/account"
	"scrier/wire"
)

const maxShares = 4 // at once: each has a server and a window on the same screen

// Console finds and shares the screen of the machine's graphical user. Its methods may be called
// at the same time.
type Console struct {
	cfg      Config
	log      *slog.Logger
	programs programs
	database account.Database
	root     bool
	serves   func(uid uint32) bool // whose screen may be shared
	patience time.Duration
	grace    time.Duration

	mu     sync.Mutex
	asking bool // a question is on the screen; a second one is refused
	shares int
}

// New makes a Console; it starts nothing.
func New(c Config, log *slog.Logger) *Console {
	uid := uint32(os.Geteuid())
	database := account.System()
	least := database.UIDMin()
	serves := func(u uint32) bool { return account.Regular(u, least) && u < account.Nobody }
	if uid != 0 {
		serves = func(u uint32) bool { return u == uid }
	}
	return &Console{
		cfg: c, log: log, programs: systemPrograms(), database: database, root: uid == 0, serves: serves, patience: patience, grace: grace,
	}
}

// Request is one operator's wish to see the screen.
type Request struct {
	Operator string
	Purpose  string
	View     bool // look only
	// Port dials a listener on this machine's loopback that belongs to uid.
	Port func(ctx context.Context, port uint16, uid uint32) (net.Conn, error)
}

// Who is the login whose screen Share would share, and empty if there is none or it may not be
// shared. It asks logind or looks through all processes, which can take some tens of milliseconds,
// so callers keep the answer for a while.
func (c *Console) Who(ctx context.Context) (login string) {
	if !c.cfg.Enabled {
		return ""
	}
	s, err := c.find(ctx)
	if err != nil {
		return ""
	}
	return s.login
}

// Share finds the user, asks them and starts to share their screen. It waits up to 35 s for their
// answer, and needs some seconds more. When ctx ends, the question goes from the screen.
func (c *Console) Share(ctx context.Context, q Request) (*Share, error) {
	if !c.cfg.Enabled {
		return nil, wire.Errorf(wire.ConsoleOff, "console.enabled is false")
	}
	if err := c.reserve(); err != nil {
		return nil, err
	}
	s, err := c.find(ctx)
	if err == nil {
		err = c.sharable(s, q)
	}
	if err == nil && c.cfg.Consent != Never {
		err = c.askOnce(ctx, s, newPrompt(q, c.view(q), c.patience))
	}
	var share *Share
	if err == nil {
		share, err = c.begun(ctx, s, q)
	}
	if err != nil {
		c.release()
		if ctx.Err() != nil {
			return nil, wire.Cause(ctx, wire.Cancelled)
		}
		return nil, err
	}
	return share, nil
}

// view says whether the operator may only look.
func (c *Console) view(q Request) bool { return q.View || !c.cfg.Control }

// sharable returns an error if the screen could not be shared, before anybody is asked.
func (c *Console) sharable(s *screen, q Request) error {
	if s.locked {
		return wire.Errorf(wire.ConsoleLocked, "it is that of %s", s.login)
	}
	var err error
	switch s.kind {
	case x11:
		_, err = c.programs.need("x11vnc", "x11vnc")
	case wlroots:
		_, err = c.programs.need("wayvnc", "wayvnc")
	default:
		err = c.ownServer(s, q, c.view(q))
	}
	if err != nil {
		return err
	}
	_, _, err = c.dialog(s) // where nobody is asked, there is still the notice to show
	return err
}

// askOnce asks, unless the user has a question in front of them already.
func (c *Console) askOnce(ctx context.Context, s *screen, p prompt) error {
	c.mu.Lock()
	busy := c.asking
	c.asking = true
	c.mu.Unlock()
	if busy {
		return wire.Errorf(wire.Busy, "%s is being asked by somebody else", s.login)
	}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.asking = false
	}()
	return c.ask(ctx, s, p)
}

func (c *Console) reserve() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.shares >= maxShares {
		return wire.Errorf(wire.Busy, "the screen is shared %d times already", c.shares)
	}
	c.shares++
	return nil
}

func (c *Console) release() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.shares--
}
