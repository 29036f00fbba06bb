//go:build !agentonly

package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/wire"
)

// statusTime bounds what is asked of the relay; connecting alone may take 15 s.
const statusTime = 20 * time.Second

func statusCommand() *cobra.Command {
	var t target
	var asJSON bool
	c := &cobra.Command{
		Use:   "status [--relay HOST:PORT] [--json] [--state DIR]",
		Short: "Say who you are, at which relay, and whether it answers",
		Long: `Say at which relay you are logged in, as whom and until when, whether the relay answers and by which way, and the
versions of both ends. It asks the current relay, or the one that --relay names; "scrier relays list" has all.
If the relay does not answer, or the login is good no more, what is known is printed all the same, the error
says why, and the exit status is the error's.
` + exitHelp("0    you are logged in, and the relay answers", wire.Unauthenticated, wire.Expired, wire.RelayUnreachable, wire.RelayUntrusted, wire.OperatorChanged, wire.Revoked, wire.BadConfig),
		Example: `  scrier status
  scrier status --json | jq -r .relay_version`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			s := &status{Version: wire.Version()}
			err := interrupted(c.Context(), s.ask(c.Context(), &t))
			if asJSON {
				if err != nil {
					s.Error = &statusError{Type: "urn:scrier:error:" + wire.CodeOf(err).String(), Code: wire.CodeOf(err), Title: wire.CodeOf(err).Meaning(), Detail: wire.DetailOf(err), Hint: wire.HintOf(err)}
				}
				return errors.Join(err, printValue(c.OutOrStdout(), s))
			}
			if s.Relay == "" && err != nil { // there is nothing to say
				return err
			}
			return errors.Join(err, s.print(c.OutOrStdout(), err))
		},
	}
	t.flags(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return c
}

// status is what there is to say of a login and its relay.
type status struct {
	Relay        string       `json:"relay,omitempty"` // host:port, or the state directory of the relay on this host
	Fingerprint  string       `json:"fingerprint,omitempty"`
	Cluster      string       `json:"cluster,omitempty"`
	Username     string       `json:"username,omitempty"`
	Role         string       `json:"role,omitempty"`
	Expires      time.Time    `json:"expires,omitzero"` // the login's end
	Reachable    bool         `json:"reachable"`
	Address      string       `json:"address,omitempty"`          // where it was reached
	Transport    string       `json:"transport,omitempty"`        // quic, tcp, or admin_socket
	Why          string       `json:"transport_reason,omitempty"` // if it is tcp
	Proxy        string       `json:"proxy,omitempty"`            // through which it is reached
	RoundTrip    float64      `json:"round_trip_ms,omitzero"`     // of a request and its answer
	Version      string       `json:"version"`
	RelayVersion string       `json:"relay_version,omitempty"`
	Error        *statusError `json:"error,omitempty"`
}

// statusError has the fields of the API's errors.
type statusError struct {
	Type   string    `json:"type"`
	Title  string    `json:"title"`
	Code   wire.Code `json:"code"`
	Detail string    `json:"detail,omitempty"`
	Hint   string    `json:"hint,omitempty"`
}

// ask finds out as much as it can.
func (s *status) ask(ctx context.Context, t *target) error {
	ctx, cancel := context.WithTimeout(ctx, statusTime)
	defer cancel()
	if _, err := transportOf(t.transport); err != nil {
		return err
	}
	if t.state == "" {
		if err := s.remembered(t.relay); err != nil {
			return err
		}
	} else {
		s.Relay = t.state
	}
	if t.state == "" {
		s.Proxy = wire.EnvironmentProxy().Name(s.Relay)
	}
	r, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	s.Reachable, s.Transport, s.Address = true, "admin_socket", r.Address()
	if s.Address != "" {
		road, why := r.Road()
		s.Transport, s.Why = string(road), why
	}
	began := time.Now()
	data, err := r.Do(ctx, "GET", "/self", nil)
	if err != nil {
		return s.unanswered(err)
	}
	s.RoundTrip = float64(time.Since(began).Microseconds()) / 1000
	who, err := decode[struct{ Username, Role string }](data)
	if err != nil {
		return err
	}
	s.Username, s.Role = who.Username, who.Role
	if data, err = r.Do(ctx, "GET", "/relay", nil); err != nil {
		return s.unanswered(err)
	}
	about, err := decode[aboutRelay](data)
	if err == nil {
		s.told(about)
	}
	return err
}

// aboutRelay is what a relay says of itself.
type aboutRelay struct{ Version, Cluster, Fingerprint string }

// told takes what the relay says of itself, but for what this machine has pinned and the connection has proved.
func (s *status) told(a aboutRelay) {
	s.RelayVersion = a.Version
	s.Fingerprint, s.Cluster = cmp.Or(s.Fingerprint, a.Fingerprint), cmp.Or(s.Cluster, a.Cluster)
}

// remembered fills in what this machine knows of a relay, or of the current one, without asking it.
func (s *status) remembered(relay string) error {
	home, err := client.FindHome()
	if err != nil {
		return err
	}
	relays, err := home.Relays()
	if err != nil {
		return err
	}
	if relay != "" {
		if relay, err = wire.RelayAddress(relay); err != nil {
			return err
		}
	}
	for _, r := range relays {
		if r.Relay == relay || relay == "" && r.Current {
			s.Relay, s.Fingerprint, s.Cluster, s.Username, s.Role, s.Expires = r.Relay, r.Pin, r.Cluster, r.Username, r.Role, r.Expires.UTC()
		}
	}
	return nil
}

// unanswered is why the relay, which was there, has not answered; an answer that says no is an answer.
func (s *status) unanswered(err error) error {
	s.Reachable = wire.CodeOf(err) != wire.RelayUnreachable
	return err
}

// print tells it to a person; err is what was in the way.
func (s *status) print(w io.Writer, err error) error {
	var rows [][]string
	add := func(what, value string) {
		if value != "" {
			rows = append(rows, []string{what, value})
		}
	}
	add("fingerprint", s.Fingerprint)
	who := s.Username
	if who != "" {
		who += " (" + s.Role + ")"
	}
	add("operator", who)
	if s.Transport != "admin_socket" {
		add("login ends", loginEnds(s.Username, s.Expires))
	}
	add("proxy", s.Proxy)
	add("reachable", s.reachable(err))
	add("version", s.Version)
	add("relay's version", s.RelayVersion)
	return table(w, []string{"relay", wire.Printable(s.Relay)}, rows)
}

// road is by what the relay was reached.
func (s *status) road() string {
	switch {
	case s.Transport != string(wire.TCP):
		return "QUIC (UDP)"
	case s.Why == "":
		return "TCP"
	}
	return "TCP (" + s.Why + ")"
}

// reachable says whether the relay answers, and by which way, or why not. Where it was not asked there is nothing to say.
func (s *status) reachable(err error) string {
	switch code := wire.CodeOf(err); {
	case s.Reachable && s.Address == "":
		return fmt.Sprintf("yes, over its admin socket, in %.1f ms", s.RoundTrip)
	case s.Reachable && err == nil:
		return fmt.Sprintf("yes, over %s at %s, in %.1f ms", s.road(), s.Address, s.RoundTrip)
	case s.Reachable:
		return fmt.Sprintf("yes, over %s at %s", s.road(), s.Address)
	case code == wire.Unauthenticated || code == wire.Expired || code == wire.BadConfig:
		return ""
	case wire.DetailOf(err) == "":
		return "no: " + code.Meaning()
	default:
		return "no: " + wire.DetailOf(err)
	}
}
