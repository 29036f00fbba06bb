package session

import (
	"context"
	"maps"
	"strconv"
	"time"

	"scrier/relay/audit"
	"scrier/relay/store"
	"scrier/wire"
)

// ChannelView is a channel of a session as the API shows one: what the audit log says of it.
type ChannelView struct {
	Number   uint32            `json:"number"`
	Open     bool              `json:"open"`
	Begun    time.Time         `json:"begun"`
	Ended    time.Time         `json:"ended,omitzero"`
	What     map[string]string `json:"what"`   // channel (shell, exec, sftp, tcp …), command, target and the like
	Reason   string            `json:"reason"` // the code's name, or "exit"; empty while it is open
	Detail   string            `json:"detail,omitempty"`
	Status   *int              `json:"status,omitempty"` // the program's exit status
	Signal   string            `json:"signal,omitempty"` // or the signal that ended it
	Sent     uint64            `json:"sent"`             // bytes to the envoy
	Received uint64            `json:"received"`         // bytes from the envoy
	Files    []FileView        `json:"files"`            // what was transferred and changed, in order
}

// FileView is a file that was transferred, or a change.
type FileView struct {
	At   time.Time         `json:"at"`
	What map[string]string `json:"what"` // path, upload, download, sha256 and the like
}

const (
	// maxHistory is how many channels and files one answer holds; historyScan how many records are looked at for it.
	maxHistory  = 2000
	historyScan = 200_000
	// maxReads is how many answers are looked for at a time: each may keep a processor busy for a second.
	maxReads = 2
)

// Types of the records of what passes over a channel for files.
const (
	FileType   = "session.file"
	ChangeType = "session.file_change"
)

// Channels are those of a session, open or closed, in the order in which they were opened. more says that there are more, or
// that the log is too long to find them all.
func (t *Table) Channels(ctx context.Context, id wire.SessionID) (channels []ChannelView, more bool, err error) {
	var row store.Session
	if err := t.KV.View(ctx, func(tx store.Tx) (err error) {
		row, err = store.GetSession(tx, id)
		return err
	}); err != nil {
		return nil, false, err
	}
	if t.shared() && row.Relay != "" && row.Relay != t.Lease.Owner().Name {
		return nil, false, wire.Errorf(wire.NotFound, "what passed in the session is in the audit log of relay %s", row.Relay)
	}
	select {
	case t.reads <- struct{}{}:
		defer func() { <-t.reads }()
	case <-ctx.Done():
		return nil, false, wire.Cause(ctx, wire.Cancelled)
	}
	h := history{session: id.String(), at: map[uint32]int{}, channels: []ChannelView{}}
	from, size := row.LogSize, t.Journal.Size()
	end := min(size, from+historyScan)
	for from < end && !h.over {
		records, err := t.Journal.Records(ctx, from, audit.MaxRecords)
		if err != nil {
			return nil, false, err
		}
		if len(records) == 0 {
			break
		}
		for _, r := range records {
			h.add(r)
		}
		from += uint64(len(records))
	}
	if s := t.find(id); s != nil {
		for _, c := range s.shown() {
			if i, ok := h.at[c.number]; ok && h.channels[i].Reason == "" {
				h.channels[i].Open, h.channels[i].Sent, h.channels[i].Received = true, c.sent.Load(), c.received.Load()
			}
		}
	}
	return h.channels, h.full || !h.over && end < size, nil
}

// history collects a session's channels from the log.
type history struct {
	session  string
	channels []ChannelView
	at       map[uint32]int // where a number is in channels
	files    int
	over     bool // the session has ended
	full     bool
}

func (h *history) add(r audit.Record) {
	if r.Session != h.session {
		return
	}
	number := uint32(1)
	if n, err := strconv.ParseUint(r.Fields["number"], 10, 32); err == nil {
		number = uint32(n)
	}
	switch r.Type {
	case connectType, channelType:
		if len(h.channels) >= maxHistory {
			h.full = true
			return
		}
		what := maps.Clone(r.Fields)
		maps.DeleteFunc(what, func(k, _ string) bool { return k == "number" || k == "kind" })
		h.at[number] = len(h.channels)
		h.channels = append(h.channels, ChannelView{Number: number, Begun: r.Time.UTC(), What: what, Files: []FileView{}})
	case channelEndType:
		h.end(number, r)
	case endType:
		h.over = true
		for i := range h.channels { // those of which no record tells: of the only one, or of a relay that was killed
			if c := &h.channels[i]; c.Reason == "" {
				if len(h.channels) == 1 {
					h.end(c.Number, r)
				} else {
					c.Ended, c.Reason, c.Detail = r.Time.UTC(), r.Code, r.Detail
				}
			}
		}
	case FileType, ChangeType:
		i, ok := h.at[number]
		if !ok || h.files >= maxHistory {
			h.full = true
			return
		}
		h.files++
		what := maps.Clone(r.Fields)
		maps.DeleteFunc(what, func(k, _ string) bool { return k == "number" || k == "kind" })
		h.channels[i].Files = append(h.channels[i].Files, FileView{At: r.Time.UTC(), What: what})
	}
}

func (h *history) end(number uint32, r audit.Record) {
	i, ok := h.at[number]
	if !ok {
		return
	}
	c := &h.channels[i]
	c.Ended, c.Reason, c.Detail, c.Signal = r.Time.UTC(), r.Code, r.Detail, r.Fields["signal"]
	if c.Reason == "" || c.Reason == wire.None.String() {
		c.Reason = "exit"
	}
	if n, err := strconv.Atoi(r.Fields["status"]); err == nil {
		c.Status = &n
	}
	c.Sent, _ = strconv.ParseUint(r.Fields["sent"], 10, 64)
	c.Received, _ = strconv.ParseUint(r.Fields["received"], 10, 64)
}
