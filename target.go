//go:build !agentonly

package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"scrier/client"
	"scrier/wire"
)

// target says which relay a command talks to.
type target struct{ state, relay, transport string }

func (t *target) flags(c *cobra.Command) {
	c.PersistentFlags().StringVar(&t.state, "state", "", "talk over its admin socket to the relay on this host that keeps its state in `DIR`")
	c.PersistentFlags().StringVar(&t.relay, "relay", "", "talk to the relay at `HOST:PORT` instead of the current one")
	transportFlag(c.PersistentFlags(), &t.transport)
}

// dial connects: to the admin socket if --state was given, else with the operator's login.
func (t *target) dial(ctx context.Context) (*client.Relay, error) {
	if t.state != "" && t.relay != "" {
		return nil, wire.Errorf(wire.Usage, "--state is for the relay on this host, and --relay for another one: give one of the two")
	}
	if t.state != "" {
		return client.DialState(ctx, t.state)
	}
	home, err := client.FindHome()
	if err != nil {
		return nil, err
	}
	login, err := home.Current(t.relay, time.Now())
	if err != nil {
		return nil, err
	}
	if login.Roads.Transport, err = transportOf(t.transport); err != nil {
		return nil, err
	}
	return dialLogin(ctx, login)
}

// transportVariable is what --transport is unless it is given.
const transportVariable = "SCRIER_TRANSPORT"

func transportFlag(f *pflag.FlagSet, to *string) {
	f.StringVar(to, "transport", "", "reach the relay over the `ROAD` auto, quic or tcp (default: $"+transportVariable+", else auto)")
}

// transportOf is the transport that a person has asked for, by the flag or else the environment.
func transportOf(flag string) (t wire.Transport, err error) {
	name, word := "--transport", flag
	if word == "" {
		name, word = transportVariable, os.Getenv(transportVariable)
	}
	if word == "" {
		return wire.Auto, nil
	}
	if err := t.UnmarshalText([]byte(word)); err != nil {
		return "", wire.Errorf(wire.Usage, "%s: %s; it is one of auto, quic and tcp", name, wire.DetailOf(err))
	}
	return t, nil
}

// again are the flags with which another command talks to the same relay.
func (t *target) again() string {
	switch {
	case t.state != "":
		return " --state " + t.state
	case t.relay != "":
		return " --relay " + t.relay
	}
	return ""
}

// dialLogin connects with a login. Changes are signed with the key that was named at the login, or one of the usual.
func dialLogin(ctx context.Context, l client.Login) (*client.Relay, error) {
	r, err := client.Dial(ctx, l, time.Now)
	if err != nil {
		return nil, interrupted(ctx, err)
	}
	r.SSHKeys = sshKeys(l.KeyFile, hostOf(l.Relay), l.Username)
	return r, nil
}

// do asks the API once.
func (t *target) do(c *cobra.Command, method, path string, in any) (json.RawMessage, error) {
	r, err := t.dial(c.Context())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	answer, err := r.Do(c.Context(), method, path, in)
	return answer, interrupted(c.Context(), err)
}

// decode reads the API's answer; it ignores what a newer relay adds.
func decode[T any](data json.RawMessage) (T, error) {
	var v T
	if err := json.Unmarshal(data, &v); errors.Is(err, errTooLong) {
		return v, errTooLong
	} else if err != nil {
		return v, &wire.Error{Code: wire.Protocol, Detail: "the relay's answer: " + err.Error(), Err: err}
	}
	return v, nil
}
