package transfer

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"scrier/wire"
)

// Lines tells one line for each file at its end.
type Lines struct {
	Out io.Writer

	mu sync.Mutex
}

// Begin implements [Progress].
func (*Lines) Begin(*File) {}

// At implements [Progress].
func (*Lines) At(*File, int64) {}

// End implements [Progress].
func (l *Lines) End(f *File, o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	fmt.Fprintln(l.Out, told(f, o))
}

// Stop implements [Progress].
func (*Lines) Stop(*File) {}

// told is what a person reads of a file in the end.
func told(f *File, o Outcome) string {
	from := wire.Printable(f.From)
	switch o.Result {
	case Failed:
		return "scrier: " + wire.Printable(failure(f, o.Err))
	case LeftOut:
		return from + " was left out: " + wire.Printable(Reason(o.Err))
	case Kept:
		return from + " is there already"
	case Continued:
		return fmt.Sprintf("%s to %s: %s, of which %s were there already", from, wire.Printable(f.To), Bytes(f.Size), Bytes(f.Size-o.Moved))
	}
	return fmt.Sprintf("%s to %s: %s", from, wire.Printable(f.To), Bytes(o.Moved))
}

// failure names the file, if the error does not name one itself.
func failure(f *File, err error) string {
	reason := Reason(err)
	if strings.HasPrefix(reason, f.From+": ") || f.To != "" && strings.HasPrefix(reason, f.To+": ") {
		return reason
	}
	return f.From + ": " + reason
}

// JSON writes one object a line: for each file at its end, and at most once a second for one that is under way.
type JSON struct {
	Out io.Writer

	mu   sync.Mutex
	last time.Time
}

// line is an object of JSON's. docs/operators.md has it.
type line struct {
	From    string  `json:"from"`
	RawFrom []byte  `json:"from_bytes,omitempty"` // in base64, if From does not have all bytes
	To      string  `json:"to,omitempty"`
	RawTo   []byte  `json:"to_bytes,omitempty"`
	Result  string  `json:"result"`
	Size    int64   `json:"size"`
	Offset  *int64  `json:"offset,omitempty"`
	Moved   *int64  `json:"moved,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
	Error   string  `json:"error,omitempty"`
}

func (j *JSON) write(f *File, l line) {
	l.From, l.To, l.Size = f.From, f.To, f.Size
	if !utf8.ValidString(f.From) {
		l.RawFrom = []byte(f.From)
	}
	if !utf8.ValidString(f.To) {
		l.RawTo = []byte(f.To)
	}
	j.print(l)
}

// print writes a value in one line. What a terminal would take for a command is written as \u….
func (j *JSON) print(v any) {
	var b strings.Builder
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if e.Encode(v) == nil {
		_, _ = j.Out.Write(wire.PrintableJSON([]byte(b.String()))) // whoever reads it has gone: the copy goes on
	}
}

// Begin implements [Progress].
func (*JSON) Begin(*File) {}

// At implements [Progress].
func (j *JSON) At(f *File, offset int64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if now := time.Now(); j.last.IsZero() {
		j.last = now
	} else if now.Sub(j.last) >= time.Second {
		j.last = now
		j.write(f, line{Result: "copying", Offset: &offset})
	}
}

// End implements [Progress].
func (j *JSON) End(f *File, o Outcome) {
	j.mu.Lock()
	defer j.mu.Unlock()
	l := line{Result: string(o.Result), Moved: &o.Moved, Seconds: o.Took.Seconds()}
	if o.Err != nil {
		l.Error = wire.Printable(Reason(o.Err))
	}
	j.write(f, l)
}

// Stop implements [Progress].
func (*JSON) Stop(*File) {}

// Summary writes the last object.
func (j *JSON) Summary(s Summary) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.print(struct {
		Result  string `json:"result"`
		Copied  int64  `json:"copied"`
		Kept    int64  `json:"kept"`
		LeftOut int64  `json:"left_out"`
		Failed  int64  `json:"failed"`
		Moved   int64  `json:"moved"`
	}{"summary", s.Copied, s.Kept, s.LeftOut, s.Failed, s.Moved})
}
