package audit

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Event is what happened. Its strings may come from anywhere: they are cut to their bounds, with
// a mark, and bytes that are not UTF-8 are replaced; they are not escaped, so whoever shows them
// does that (wire.Printable). No secret belongs here: no key stroke, token, ticket or password.
type Event struct {
	Type      string // e.g. "scrier.connect"; never empty
	Operator  string // username
	Envoy     string // id
	EnvoyName string
	Session   string // id
	Source    string // where the request came from, e.g. an address
	Code      string // name of a wire.Code; empty or "ok" is success
	Detail    string
	Fields    map[string]string // what this type of event has besides
}

// Record is an event in its place in the log.
type Record struct {
	Seq  uint64    // from 0, without a gap
	Time time.Time // the relay's clock when it was written; it may go back when the clock was set
	Prev [32]byte  // leaf hash of the record before; zeros in the first
	Event
}

// The bounds of an event's strings, in bytes; together they stay below [MaxRecord].
const (
	maxName   = 256
	maxDetail = 4096
	maxFields = 32
	maxKey    = 64
	maxValue  = 1024
)

const (
	cutMark = "…[cut]"
	lostKey = "fields_cut" // how many fields were left out
)

// bounded returns e with every string cut to its bound.
func (e Event) bounded() Event {
	for _, s := range []*string{&e.Type, &e.Operator, &e.Envoy, &e.EnvoyName, &e.Session, &e.Source, &e.Code} {
		*s = cut(*s, maxName)
	}
	e.Detail = cut(e.Detail, maxDetail)
	if len(e.Fields) == 0 {
		e.Fields = nil
		return e
	}
	fields := make(map[string]string, min(len(e.Fields), maxFields))
	lost := 0
	for _, k := range slices.Sorted(maps.Keys(e.Fields)) {
		key := cut(k, maxKey)
		if _, taken := fields[key]; taken || len(fields) >= maxFields-1 && len(e.Fields) > maxFields {
			lost++
			continue
		}
		fields[key] = cut(e.Fields[k], maxValue)
	}
	if lost > 0 {
		fields[lostKey] = strconv.Itoa(lost)
	}
	e.Fields = fields
	return e
}

// cut returns at most n bytes of valid UTF-8.
func cut(s string, n int) string {
	long := len(s) > n
	if long {
		s = s[:n] // before anything that takes memory in proportion
	}
	s = strings.ToValidUTF8(s, "\ufffd")
	if !long && len(s) <= n {
		return s
	}
	end := min(len(s), n-len(cutMark))
	for end > 0 && end < len(s) && !utf8.RuneStart(s[end]) {
		end--
	}
	return s[:end] + cutMark
}
