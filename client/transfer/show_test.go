package transfer_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"scrier/client/transfer"
)

// buffer is a writer for several goroutines.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// named are files as a machine that means no good may name them.
var named = []*transfer.File{
	{From: "web1:\x1b[2J\x1b]0;title\x07evil\r\n", To: "dir/\x1b[31m", Size: 1 << 20},
	{From: "web1:latin\xe9" + strings.Repeat("x", 300), To: "a\u202eb", Size: 0},
	{From: "web1:" + strings.Repeat("漢", 100), To: "to", Size: 5},
	{From: "a", To: "web1:a", Size: 1 << 40},
}

func tell(p transfer.Progress) {
	for _, f := range named {
		p.Begin(f)
		p.At(f, f.Size/2)
		for _, o := range []transfer.Outcome{
			{Result: transfer.Copied, Moved: f.Size, Took: time.Second}, {Result: transfer.Continued, Moved: f.Size / 2, Took: time.Hour},
			{Result: transfer.Kept}, {Result: transfer.LeftOut, Err: errors.New("no\x1bgood")}, {Result: transfer.Failed, Err: errors.New("bad\x1b[0mthing")},
		} {
			p.End(f, o)
		}
	}
}

// What a machine says never reaches a terminal raw.
func TestShownPlain(t *testing.T) {
	var lines, bars buffer
	tell(&transfer.Lines{Out: &lines})
	const width = 60
	b := transfer.NewBars(&bars, func() int { return width })
	for _, f := range named {
		b.Begin(f)
		b.At(f, f.Size/2)
		for end := time.Now().Add(long); !strings.HasSuffix(bars.String(), "left"); time.Sleep(10 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("there is no bar: %q", bars.String())
			}
		}
		b.End(f, transfer.Outcome{Result: transfer.Copied, Moved: f.Size, Took: time.Second})
	}
	tell(b)
	b.Close()
	text := strings.ReplaceAll(bars.String(), "\r\x1b[K", "\n") // the one sequence that is ours
	for name, text := range map[string]string{"lines": lines.String(), "bars": text} {
		if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && (r < ' ' || r == 0x7f || r == 0x202e || r == utf8.RuneError) }); i >= 0 {
			t.Errorf("%s show %q", name, text[i:min(i+20, len(text))])
		}
	}
	if n := strings.Count(lines.String(), "\n"); n != 5*len(named) {
		t.Errorf("%d lines for %d files", n, len(named))
	}
	bar := regexp.MustCompile(`% +[0-9.]+ (bytes|.iB) +[0-9.]+ (bytes|.iB)/s +[-0-9:]+( left|     )$`)
	seen := 0
	for line := range strings.Lines(text) {
		line = strings.TrimSuffix(line, "\n")
		if !bar.MatchString(line) {
			continue
		}
		seen++
		columns := 0
		for _, r := range line {
			columns++
			if r >= 0x1100 && r != '…' {
				columns++
			}
		}
		if columns >= width {
			t.Errorf("a bar of %d columns on a terminal of %d: %q", columns, width, line)
		}
	}
	if seen < 3*len(named) {
		t.Errorf("%d bars were seen in %q", seen, text)
	}
}

// Each line of JSON is an object that has the names as they are.
func TestShownJSON(t *testing.T) {
	var out bytes.Buffer
	j := &transfer.JSON{Out: &out}
	tell(j)
	j.Summary(transfer.Summary{Copied: 1, Failed: 2, Moved: 3})
	var results []string
	for line := range strings.Lines(out.String()) {
		if strings.ContainsFunc(strings.TrimSuffix(line, "\n"), func(r rune) bool { return r < ' ' || r == 0x202e }) {
			t.Errorf("raw: %q", line)
		}
		var v struct {
			From, To, Result, Error string
			FromBytes               []byte `json:"from_bytes"`
			Size, Moved             int64
		}
		if err := json.Unmarshal([]byte(line), &v); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		results = append(results, v.Result)
		if v.Result == "summary" {
			continue
		}
		from := v.From
		if v.FromBytes != nil {
			from = string(v.FromBytes)
		}
		known := false
		for _, f := range named {
			known = known || f.From == from
		}
		if !known {
			t.Errorf("nobody named %q", from)
		}
		if (v.Error != "") != (v.Result == "failed" || v.Result == "left_out") {
			t.Errorf("%s with the error %q", v.Result, v.Error)
		}
	}
	if want := strings.Repeat("copied continued kept left_out failed ", len(named)) + "summary"; strings.Join(results, " ") != want {
		t.Errorf("results are %q", results)
	}
}
