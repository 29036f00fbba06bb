// Package doctor looks at a relay from the outside, as the person who runs it would, and says what
// is wrong and what to do about it. It changes nothing, works while the relay is down (which is
// then a finding), and needs neither the relay's store nor its keys.
//
// Every check has a time limit of its own, and checks that do not depend on each other run at the same
// time. A check that is not possible on this machine is skipped, and the report says so.
package doctor

import (
	"context"
	"crypto/x509"
	"errors"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"scrier/certs"
	"scrier/relay"
	"scrier/sockets"
	"scrier/wire"
)

// Settings say where to look. What has a default may be left empty.
type Settings struct {
	Config string // server.yaml; empty: the one in State, if it is there
	State  string // the relay's state directory
	Relay  string // host:port of the relay; empty: where server.yaml makes it listen
	Pin    *certs.Pin
	Agent  string // the state directory of an agent, if this machine has one
	// AgentConfig reads its configuration, and says what in it makes no sense.
	AgentConfig func(context.Context) (path string, doubts []string, err error)

	Now   func() time.Time
	Wait  time.Duration // of one check; default 3 s
	Roots *x509.CertPool
	// Synced says whether something keeps this machine's clock right; default: the kernel does.
	Synced func() (bool, error)
	// Listeners finds who listens at a port; default: [sockets.Listeners].
	Listeners func(port uint16) ([]sockets.Listener, error)
}

const checkWait = 3 * time.Second // a healthy answer takes milliseconds, also on another continent

// Status is how a check went.
type Status string

// The statuses. Only Fail makes a report fail.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
	Skip Status = "skip" // it could not be told here
)

// Finding is what one check found.
type Finding struct {
	Group  string `json:"group"`
	What   string `json:"what"`
	Status Status `json:"status"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"` // what to do
}

// examiner is one run.
type examiner struct {
	Settings
	conf relay.Config
	here bool   // there is a relay's state directory
	far  bool   // the directory that was named is an agent's
	addr string // of the relay; empty: it is not known
	pin  *certs.Pin

	runs   about // what the relay of this machine says of itself
	silent error // why it does not
}

// Run makes all checks.
func Run(ctx context.Context, s Settings) Report {
	e := &examiner{Settings: s, pin: s.Pin}
	if e.Wait == 0 {
		e.Wait = checkWait
	}
	if e.Listeners == nil {
		e.Listeners = sockets.Listeners
	}
	if e.Synced == nil {
		e.Synced = synced
	}
	_, err := os.Stat(e.State)
	e.far = agents(e.State)
	e.here = !errors.Is(err, fs.ErrNotExist) && !e.far
	first := e.configuration()
	if e.here {
		e.runs, e.silent = e.about(ctx)
	}
	e.find()
	groups := []func(context.Context) []Finding{
		func(context.Context) []Finding { return first },
		e.state, e.process, e.port, e.certificates, e.clock, e.guacd, e.agent,
	}
	found := make([][]Finding, len(groups))
	var wg sync.WaitGroup
	for i, check := range groups {
		wg.Go(func() { found[i] = check(ctx) })
	}
	wg.Wait()
	r := Report{Version: wire.Version()}
	for _, f := range found {
		r.Checks = append(r.Checks, f...)
	}
	return r.count()
}

// group names the findings of one group.
func group(name string, findings ...Finding) []Finding {
	for i := range findings {
		findings[i].Group = name
	}
	return findings
}

// parallel makes checks at once; their order stays.
func parallel(checks ...func() []Finding) (all []Finding) {
	found := make([][]Finding, len(checks))
	var wg sync.WaitGroup
	for i, check := range checks {
		wg.Go(func() { found[i] = check() })
	}
	wg.Wait()
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

// detail is an error in one line: of a file's error the first, without the lines of the file below it.
func detail(err error) string {
	if d := wire.DetailOf(err); d != "" {
		first, _, _ := strings.Cut(d, "\n")
		return first
	}
	if c := wire.CodeOf(err); c != wire.Internal {
		return c.Meaning()
	}
	return err.Error()
}

// configuration reads server.yaml; when it is not valid the defaults stand in for it.
func (e *examiner) configuration() []Finding {
	path, named := e.Config, e.Config != ""
	if !named {
		path = filepath.Join(e.State, "server.yaml")
	}
	f := Finding{What: "server.yaml", Status: OK, Detail: path}
	_, missing := os.Stat(path)
	var err error
	switch e.conf, err = relay.LoadConfig(path, named); {
	case err != nil:
		f.Status, f.Detail = Fail, detail(err)
		f.Hint = "correct it; the relay does not start with it, and the checks below are of its defaults"
		e.conf = relay.DefaultConfig()
	case errors.Is(missing, fs.ErrNotExist) && !e.here:
		f.Status, f.Detail = Skip, "there is no relay on this machine"
	case errors.Is(missing, fs.ErrNotExist):
		f.Detail = "there is none, so the defaults hold"
	}
	found := []Finding{f}
	if err == nil && f.Status != Skip {
		found = append(found, doubtful("server.yaml", e.conf.Doubts(), "correct it, and restart the relay")...)
	}
	return group("configuration", found...)
}

// doubtful are the findings about what makes no sense in a configuration.
func doubtful(file string, doubts []string, hint string) (out []Finding) {
	for _, d := range doubts {
		out = append(out, Finding{What: file, Status: Warn, Detail: d, Hint: hint})
	}
	return out
}

// agent looks at the configuration of this machine's agent, if there is one.
func (e *examiner) agent(ctx context.Context) []Finding {
	if e.Agent == "" || e.AgentConfig == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	path, doubts, err := e.AgentConfig(ctx)
	f := Finding{What: "agent.yaml", Status: OK, Detail: path}
	switch _, missing := os.Stat(path); {
	case errors.Is(err, fs.ErrPermission):
		f.Status, f.Detail = Skip, path+" cannot be read by this user"
	case err != nil:
		f.Status, f.Detail, f.Hint = Fail, detail(err), "correct it; the agent does not start with it"
	case errors.Is(missing, fs.ErrNotExist):
		f.Detail = "there is none, so the defaults hold"
	}
	return group("agent", append([]Finding{f}, doubtful("agent.yaml", doubts, "correct it, and restart the agent")...)...)
}

// find says where the relay is, and which CA it must have.
func (e *examiner) find() {
	e.addr = e.Relay
	if host, port, err := net.SplitHostPort(e.listen()); e.addr == "" && e.here && err == nil && port != "0" {
		if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
			host = "127.0.0.1" // it listens at every address, so at this one too
		}
		e.addr = net.JoinHostPort(host, port)
	}
	if ca, err := e.ca(); err == nil && e.pin == nil && e.Relay == "" {
		pin := certs.PinOf(ca)
		e.pin = &pin
	}
}

// ca is the certificate of the relay's own authority.
func (e *examiner) ca() (*x509.Certificate, error) {
	chain, err := certs.LoadChain(filepath.Join(e.State, "ca.crt"))
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}
