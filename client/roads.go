package client

import (
	"context"
	"os"
	"path/filepath"
	"time"

	"scrier/certs"
	"scrier/roads"
	"scrier/wire"
)

// Roads is how relays are reached from this machine.
type Roads struct {
	Transport wire.Transport
	// Memory is of what worked. It is not used if a Transport is asked for.
	Memory roads.Memory
}

// roads is the memory of this user: roads.json in SCRIER_HOME if that is set, else in the folder scrier of XDG_STATE_HOME
// (~/.local/state).
func (h Home) roads(now func() time.Time) Roads {
	return Roads{Memory: roads.Memory{Path: filepath.Join(h.stateDir(), "roads.json"), Now: now}}
}

func (h Home) stateDir() string {
	if os.Getenv("SCRIER_HOME") != "" {
		return h.Dir
	}
	if dir := os.Getenv("XDG_STATE_HOME"); filepath.IsAbs(dir) { // others are to be ignored
		return filepath.Join(dir, "scrier")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return h.Dir
	}
	return filepath.Join(home, ".local", "state", "scrier")
}

func (h Home) roadsFor(r LoginRequest) Roads {
	roads := h.roads(r.Now)
	roads.Transport = r.Transport
	return roads
}

// dialer is how to reach a relay now.
func (r Roads) dialer(relay string, c certs.Client) wire.Dialer {
	d := wire.Dialer{TLS: c.TLS(), Transport: r.Transport, Proxy: wire.EnvironmentProxy()}
	if r.chooses(d, relay) {
		d.First, _ = r.Memory.First(relay)
	}
	return d
}

// prober connects over QUIC, where that may be better than what is had; nil: it may not, or there is no choice.
func (r Roads) prober(relay string, c certs.Client) func(context.Context) (wire.Link, error) {
	d := wire.Dialer{TLS: c.TLS(), Transport: r.Transport, Proxy: wire.EnvironmentProxy()}
	if !d.May(wire.QUIC, relay) || !d.May(wire.TCP, relay) {
		return nil
	}
	d.Transport = wire.OnlyQUIC
	return func(ctx context.Context) (wire.Link, error) {
		link, err := d.Dial(ctx, relay)
		if err == nil {
			auto := d
			auto.Transport = wire.Auto
			r.won(auto, relay, link)
		}
		return link, err
	}
}

// chooses says whether there is more than one road.
func (r Roads) chooses(d wire.Dialer, relay string) bool {
	return r.Memory.Path != "" && d.May(wire.QUIC, relay) && d.May(wire.TCP, relay)
}

// won notes by which road the relay was reached. That it cannot be noted is nothing that a person has to hear: the next command
// tries what is usual.
func (r Roads) won(d wire.Dialer, relay string, link wire.Link) {
	if r.chooses(d, relay) {
		_ = r.Memory.Won(relay, link.Peer().Road, d.Why(link, relay))
	}
}
