package client

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"scrier/wire"
)

const (
	// silence is how long a stream of events may be silent: the relay sends something every 15 seconds.
	silence = 45 * time.Second
	// maxEvent is far more than an event has, in bytes.
	maxEvent = 1 << 20
)

// Follow hears the relay's events until ctx or the stream ends, and tells why: it never returns nil. began is called once
// the stream is open, for the list that the events change; then event for each, by name and JSON, one at a time.
func (r *Relay) Follow(ctx context.Context, began func() error, event func(name string, data []byte) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(silence, func() { cancel(wire.Errorf(wire.RelayUnreachable, "the relay has said nothing for %s", silence)) })
	defer late.Stop()
	err := r.follow(ctx, func() { late.Reset(silence) }, began, event)
	if ctx.Err() != nil {
		return wire.Cause(ctx, wire.Cancelled)
	}
	return err
}

func (r *Relay) follow(ctx context.Context, heard func(), began func() error, event func(name string, data []byte) error) error {
	resp, err := r.send(ctx, "GET", "/events", nil)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := began(); err != nil {
		return err
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, maxEvent)
	var name string
	var data []byte
	for lines.Scan() {
		heard()
		if len(lines.Bytes()) == 0 { // the end of an event, or of what only says that the relay is there
			if name != "" {
				if err := event(name, data); err != nil {
					return err
				}
			}
			name = ""
			continue
		}
		field, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "event":
			name = string(value)
		case "data":
			data = append(data[:0], value...)
		}
	}
	switch err := lines.Err(); {
	case errors.Is(err, bufio.ErrTooLong):
		return wire.Errorf(wire.Protocol, "an event of the relay's has more than %d bytes", maxEvent)
	case err != nil && !errors.Is(err, io.ErrUnexpectedEOF):
		return r.failed(err)
	}
	if r.link != nil && r.link.Err() != nil {
		return r.why()
	}
	return wire.Errorf(wire.RelayUnreachable, "the relay has ended the stream of events")
}
