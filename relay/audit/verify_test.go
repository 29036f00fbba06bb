package audit

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"scrier/wire"
)

// forger makes exports with a key, as a relay does, or somebody who stole the key. It keeps all
// in memory, so that the tests can make thousands.
type forger struct{ key signingKey }

func newForger(t testing.TB) forger {
	t.Helper()
	k, err := loadKey(t.TempDir()+"/key", "scrier-relay/test", true)
	if err != nil {
		t.Fatal(err)
	}
	return forger{k}
}

// fixedForger has a key that is known to everybody.
func fixedForger(t testing.TB) forger {
	t.Helper()
	const name = "scrier-relay/test"
	seed := bytes.Repeat([]byte{7}, ed25519.SeedSize)
	public, err := note.NewEd25519VerifierKey(name, ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hash := strings.Split(public, "+")[1]
	k, err := parseKey("", "PRIVATE+KEY+"+name+"+"+hash+"+"+base64.StdEncoding.EncodeToString(append([]byte{1}, seed...)), name)
	if err != nil {
		t.Fatal(err)
	}
	return forger{k}
}

// made is an export in parts.
type made struct {
	header []string // whole lines, without their ends
	body   []string
	end    string
}

func (m made) bytes() []byte {
	return []byte(strings.Join(slices.Concat(m.header, m.body, []string{m.end}), "\n") + "\n")
}

func line(word string, data []byte) string { return word + base64.StdEncoding.EncodeToString(data) }

func (f forger) checkpoint(h head, extra ...string) []byte {
	signed, err := checkpoint{origin: f.key.signer.Name(), size: h.tree.size, root: h.tree.root(), extra: extra}.sign(f.key.signer)
	if err != nil {
		panic(err)
	}
	return signed
}

// chain gives the records their places.
func chain(events []Record) (rows [][]byte) {
	var last tlog.Hash
	for i, r := range events {
		r.Seq, r.Prev = uint64(i), last
		data, err := r.encode()
		if err != nil {
			panic(err)
		}
		last = leaf(data)
		rows = append(rows, data)
	}
	return rows
}

// export makes an export of rows with a checkpoint after each number of records in covered.
func (f forger) export(rows [][]byte, covered ...int) made {
	m := made{header: []string{exportFormat, keyWord + f.key.public}}
	var h head
	for i, data := range rows {
		h.tree.add(leaf(data), nil)
		m.body = append(m.body, line(recordWord, data))
		if slices.Contains(covered, i+1) {
			m.body = append(m.body, line(checkpointWord, f.checkpoint(h)))
		}
	}
	return f.sign(m, h)
}

// sign puts the end under whatever is in m.
func (f forger) sign(m made, h head) made {
	var digest tlog.Hash = sha256.Sum256([]byte(strings.Join(slices.Concat(m.header, m.body), "\n") + "\n"))
	m.end = line(endWord, f.checkpoint(h, digestWord+digest.String(), timeWord+"2031-05-17T12:00:00Z"))
	return m
}

func headOf(rows [][]byte) (h head) {
	for _, data := range rows {
		h.last = leaf(data)
		h.tree.add(h.last, nil)
	}
	return h
}

func randomRecords(rnd *rand.Rand, n int) []Record {
	records := make([]Record, n)
	at := time.Unix(1_900_000_000, 0)
	for i := range records {
		at = at.Add(time.Duration(rnd.IntN(1_000_000_000)))
		records[i] = Record{Time: at, Event: Event{
			Type: []string{"scrier.connect", "scrier.disconnect", "scrier.login"}[rnd.IntN(3)], Operator: fmt.Sprint("op", rnd.IntN(5)),
			Session: strconv.FormatUint(rnd.Uint64(), 36), Detail: strings.Repeat("x", rnd.IntN(40)),
		}}
		if rnd.IntN(3) == 0 {
			records[i].Fields = map[string]string{"bytes": fmt.Sprint(rnd.IntN(1 << 30))}
		}
	}
	return records
}

// randomCuts are the sizes at which checkpoints were made.
func randomCuts(rnd *rand.Rand, n int) (sizes []int) {
	for i := 1 + rnd.IntN(6); i < n; i += 1 + rnd.IntN(12) {
		sizes = append(sizes, i)
	}
	return sizes
}

// TestForgerMakesWhatExportMakes keeps the mutation test honest.
func TestForgerMakesWhatExportMakes(t *testing.T) {
	cfg := config(t.TempDir())
	cfg.CheckpointEvery, cfg.CheckpointInterval = 4, time.Hour
	cfg.Now = func() time.Time { return time.Date(2031, 5, 17, 12, 0, 0, 0, time.UTC) }
	l := open(t, cfg)
	defer shut(t, l)
	var records []Record
	for i := range 10 {
		r, err := l.Append(context.Background(), event(i))
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, r)
	}
	f := forger{l.key}
	if diff := cmp.Diff(string(f.export(chain(records), 4, 8).bytes()), string(export(t, l))); diff != "" {
		t.Error(diff)
	}
}

// mutation spoils the export of rows. It returns nil if it cannot be done with this one.
type mutation struct {
	name string
	// pinned: found only with a checkpoint that was kept elsewhere, since the forger has the key.
	pinned bool
	do     func(rnd *rand.Rand, f forger, x exported) []byte
}

// exported is an export and what it was made from.
type exported struct {
	made
	rows    [][]byte
	covered []int
	other   forger // an impostor: another key under the same name
}

// spoil returns a copy of the export whose body f changed, with the old end.
func (x exported) spoil(f func(body []string) []string) []byte {
	m := x.made
	m.body = f(slices.Clone(x.body))
	if m.body == nil {
		return nil
	}
	return m.bytes()
}

// pick returns the index in body of a random line with word, -1 if there is none.
func pick(rnd *rand.Rand, body []string, word string) int {
	var all []int
	for i, l := range body {
		if strings.HasPrefix(l, word) {
			all = append(all, i)
		}
	}
	if len(all) == 0 {
		return -1
	}
	return all[rnd.IntN(len(all))]
}

func reencode(data []byte, edit func(*Record)) []byte {
	r, err := decodeRecord(data)
	if err != nil {
		panic(err)
	}
	edit(&r)
	data, err = r.encode()
	if err != nil {
		panic(err)
	}
	return data
}

// editRecord changes one thing in a record.
func editRecord(rnd *rand.Rand, r *Record) {
	switch rnd.IntN(8) {
	case 0:
		r.Operator += "x"
	case 1:
		r.Detail = "nothing happened"
	case 2:
		r.Type = "scrier.nothing"
	case 3:
		r.Time = r.Time.Add(time.Duration(1 + rnd.Int64N(1e12)))
	case 4:
		r.Fields = map[string]string{"x": r.Session}
	case 5:
		r.Session, r.Source = r.Source, r.Session
	case 6:
		r.Prev[rnd.IntN(32)] ^= 1 << rnd.IntN(8)
	case 7:
		r.Seq += 1 + rnd.Uint64N(3)
	}
}

func recordOf(l string) []byte {
	data, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(l, recordWord))
	if err != nil {
		panic(err)
	}
	return data
}

// rechained are rows that were changed from k on and chained again, as somebody does who knows
// the format and has no key.
func rechained(rnd *rand.Rand, rows [][]byte) [][]byte {
	records := make([]Record, len(rows))
	for i, data := range rows {
		r, err := decodeRecord(data)
		if err != nil {
			panic(err)
		}
		records[i] = r
	}
	k := rnd.IntN(len(records))
	switch rnd.IntN(3) {
	case 0:
		records[k].Operator = "eve"
	case 1:
		records = slices.Delete(records, k, k+1)
	case 2:
		records = slices.Insert(records, k, Record{Time: records[k].Time, Event: Event{Type: "scrier.invented"}})
	}
	return chain(records)
}

func withRows(body []string, rows [][]byte) []string {
	out := slices.Clone(body)[:0]
	next := 0
	for _, l := range body {
		if strings.HasPrefix(l, recordWord) {
			if next == len(rows) {
				continue
			}
			l = line(recordWord, rows[next])
			next++
		}
		out = append(out, l)
	}
	for ; next < len(rows); next++ {
		out = append(out, line(recordWord, rows[next]))
	}
	return out
}

func mutations() []mutation {
	at := func(word string, do func(rnd *rand.Rand, body []string, i int) []string) func(*rand.Rand, forger, exported) []byte {
		return func(rnd *rand.Rand, _ forger, x exported) []byte {
			i := pick(rnd, x.body, word)
			if i < 0 {
				return nil
			}
			return x.spoil(func(body []string) []string { return do(rnd, body, i) })
		}
	}
	deleted := func(_ *rand.Rand, body []string, i int) []string { return slices.Delete(body, i, i+1) }
	twice := func(_ *rand.Rand, body []string, i int) []string { return slices.Insert(body, i, body[i]) }
	moved := func(rnd *rand.Rand, body []string, i int) []string {
		l := body[i]
		body = slices.Delete(body, i, i+1)
		if len(body) == 0 {
			return nil
		}
		j := rnd.IntN(len(body))
		if j >= i {
			j++
		}
		return slices.Insert(body, j, l)
	}
	return []mutation{
		{name: "bit flip", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			b := x.bytes()
			b[rnd.IntN(len(b))] ^= 1 << rnd.IntN(8)
			return b
		}},
		{name: "byte deleted", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			b := x.bytes()
			i := rnd.IntN(len(b) - 1) // the last byte is a cut
			return slices.Delete(b, i, i+1)
		}},
		{name: "byte inserted", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			b := x.bytes()
			return slices.Insert(b, rnd.IntN(len(b)+1), "A=\n\r \x00+"[rnd.IntN(7)])
		}},
		{name: "field edited", do: at(recordWord, func(rnd *rand.Rand, body []string, i int) []string {
			body[i] = line(recordWord, reencode(recordOf(body[i]), func(r *Record) { editRecord(rnd, r) }))
			return body
		})},
		{name: "other spelling of a record", do: at(recordWord, func(rnd *rand.Rand, body []string, i int) []string {
			data := recordOf(body[i])
			body[i] = line(recordWord, append([]byte{0xb8, data[0] & 0x1f}, data[1:]...)) // a longer map header
			return body
		})},
		{name: "record deleted", do: at(recordWord, deleted)},
		{name: "record twice", do: at(recordWord, twice)},
		{name: "record moved", do: at(recordWord, moved)},
		{name: "records swapped", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			i, j := pick(rnd, x.body, recordWord), pick(rnd, x.body, recordWord)
			if i == j {
				return nil
			}
			return x.spoil(func(body []string) []string { body[i], body[j] = body[j], body[i]; return body })
		}},
		{name: "times reordered", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			i, j := pick(rnd, x.body, recordWord), pick(rnd, x.body, recordWord)
			if i == j {
				return nil
			}
			return x.spoil(func(body []string) []string {
				a, b := recordOf(body[i]), recordOf(body[j])
				ra, _ := decodeRecord(a)
				rb, _ := decodeRecord(b)
				body[i] = line(recordWord, reencode(a, func(r *Record) { r.Time = rb.Time }))
				body[j] = line(recordWord, reencode(b, func(r *Record) { r.Time = ra.Time }))
				return body
			})
		}},
		{name: "record inserted", do: at(recordWord, func(rnd *rand.Rand, body []string, i int) []string {
			fits := reencode(recordOf(body[i]), func(r *Record) { r.Operator = "eve" }) // same seq, same prev
			return slices.Insert(body, i, line(recordWord, fits))
		})},
		{name: "record appended", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			h := headOf(x.rows)
			data, err := Record{Seq: h.tree.size, Prev: h.last, Event: Event{Type: "scrier.invented"}}.encode()
			if err != nil {
				panic(err)
			}
			return x.spoil(func(body []string) []string { return append(body, line(recordWord, data)) })
		}},
		{name: "last records dropped, end kept", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return x.spoil(func(body []string) []string { return body[:rnd.IntN(len(body))] })
		}},
		{name: "cut to a checkpoint, which becomes the end", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			i := pick(rnd, x.body, checkpointWord)
			if i < 0 {
				return nil
			}
			m := x.made
			m.body = x.body[:i]
			m.end = endWord + strings.TrimPrefix(x.body[i], checkpointWord)
			return m.bytes()
		}},
		{name: "rewritten and chained again", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return x.spoil(func(body []string) []string { return withRows(body, rechained(rnd, x.rows)) })
		}},
		{name: "rewritten without checkpoints", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return x.spoil(func(body []string) []string {
				body = slices.DeleteFunc(body, func(l string) bool { return strings.HasPrefix(l, checkpointWord) })
				return withRows(body, rechained(rnd, x.rows))
			})
		}},
		{name: "all replaced and signed by another key", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return x.other.export(rechained(rnd, x.rows), x.covered...).bytes()
		}},
		{name: "all replaced and signed by another key under the name of this", do: func(rnd *rand.Rand, f forger, x exported) []byte {
			m := x.other.export(rechained(rnd, x.rows), x.covered...)
			m.header = x.header
			return m.bytes()
		}},
		{name: "end signed by another key", do: func(rnd *rand.Rand, f forger, x exported) []byte {
			return x.other.sign(x.made, headOf(x.rows)).bytes()
		}},
		{name: "checkpoint deleted", do: at(checkpointWord, deleted)},
		{name: "checkpoint twice", do: at(checkpointWord, twice)},
		{name: "checkpoint moved", do: at(checkpointWord, moved)},
		{name: "checkpoints swapped", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			i, j := pick(rnd, x.body, checkpointWord), pick(rnd, x.body, checkpointWord)
			if i == j {
				return nil
			}
			return x.spoil(func(body []string) []string { body[i], body[j] = body[j], body[i]; return body })
		}},
		{name: "checkpoint of another log", do: func(rnd *rand.Rand, f forger, x exported) []byte {
			i := pick(rnd, x.body, checkpointWord)
			if i < 0 {
				return nil
			}
			n := 0
			for _, l := range x.body[:i] {
				if strings.HasPrefix(l, recordWord) {
					n++
				}
			}
			other := headOf(chain(randomRecords(rnd, n))) // the same key, the same size
			return x.spoil(func(body []string) []string { body[i] = line(checkpointWord, f.checkpoint(other)); return body })
		}},
		{name: "signature stripped", do: at(checkpointWord, func(rnd *rand.Rand, body []string, i int) []string {
			signed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(body[i], checkpointWord))
			text, _, _ := strings.Cut(string(signed), "\n\n")
			body[i] = line(checkpointWord, []byte(text+"\n"+[]string{"", "\n"}[rnd.IntN(2)]))
			return body
		})},
		{name: "signature added", do: at(checkpointWord, func(rnd *rand.Rand, body []string, i int) []string {
			signed, _ := base64.StdEncoding.DecodeString(strings.TrimPrefix(body[i], checkpointWord))
			lines := strings.SplitAfter(string(signed), "\n")
			body[i] = line(checkpointWord, []byte(string(signed)+lines[len(lines)-2]))
			return body
		})},
		{name: "end of an older export", do: func(rnd *rand.Rand, f forger, x exported) []byte {
			m := x.made
			m.end = f.export(x.rows[:rnd.IntN(len(x.rows))]).end
			return m.bytes()
		}},
		{name: "end twice", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return append(x.bytes(), []byte(x.end+"\n")...)
		}},
		{name: "end put in as a checkpoint", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return x.spoil(func(body []string) []string { return append(body, checkpointWord+strings.TrimPrefix(x.end, endWord)) })
		}},
		{name: "something behind the end", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			return append(x.bytes(), x.bytes()[:1+rnd.IntN(40)]...)
		}},
		{name: "header line deleted", do: func(rnd *rand.Rand, _ forger, x exported) []byte {
			m := x.made
			i := rnd.IntN(2)
			m.header = slices.Delete(slices.Clone(m.header), i, i+1)
			return m.bytes()
		}},
		{name: "rewritten and signed with the stolen key", pinned: true, do: func(rnd *rand.Rand, f forger, x exported) []byte {
			return f.export(rechained(rnd, x.rows), x.covered...).bytes()
		}},
		{name: "cut and signed with the stolen key", pinned: true, do: func(rnd *rand.Rand, f forger, x exported) []byte {
			n := rnd.IntN(len(x.rows))
			return f.export(x.rows[:n], x.covered...).bytes()
		}},
		{name: "fork signed with the stolen key", pinned: true, do: func(rnd *rand.Rand, f forger, x exported) []byte {
			rows := rechained(rnd, x.rows)
			var records []Record
			for _, data := range rows {
				r, _ := decodeRecord(data)
				records = append(records, r)
			}
			records = append(records, randomRecords(rnd, 1+rnd.IntN(20))...) // longer than the truth
			return f.export(chain(records), x.covered...).bytes()
		}},
	}
}

// mutationsEnv is how many mutated logs TestTampering makes; the whole is 140000.
const mutationsEnv = "SCRIER_TEST_MUTATIONS"

// TestTampering spoils logs in every way that it knows, and finds each; and finds nothing in as
// many clean and cut ones.
func TestTampering(t *testing.T) {
	total := 4000
	if s := os.Getenv(mutationsEnv); s != "" {
		var err error
		if total, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	}
	f := newForger(t)
	impostor := newForger(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 0))
	kinds := mutations()
	made := make([]int, len(kinds))
	// Not every way fits every log: it goes on until each has been tried often enough.
	least := total / len(kinds) / 3
	for done := 0; done < total || slices.Min(made) < least && done < 10*total; {
		x := exported{other: impostor}
		n := 1 + rnd.IntN(24)
		x.rows = chain(randomRecords(rnd, n))
		x.covered = randomCuts(rnd, n)
		x.made = f.export(x.rows, x.covered...)
		whole := x.bytes()
		pin := f.checkpoint(headOf(x.rows))
		for _, opt := range []VerifyOptions{{}, {Key: f.key.public}, {Key: f.key.public, Pinned: pin}, {Pinned: f.checkpoint(headOf(x.rows[:n/2]))}} {
			want := Report{Verdict: OK, Records: uint64(n), Covered: uint64(n), Key: f.key.public, Trusted: opt.Key != ""}
			got := verify(t, whole, opt)
			got.Checkpoint, got.Exported = nil, time.Time{}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Fatalf("a clean log: %s", diff)
			}
		}
		cut := whole[:rnd.IntN(len(whole))]
		if r := verify(t, cut, VerifyOptions{Key: f.key.public, Pinned: pin}); r.Verdict != IncompleteTail || r.Why == "" {
			t.Fatalf("a clean log that was cut at %d of %d: %+v", len(cut), len(whole), r)
		}
		for i, kind := range kinds {
			spoilt := kind.do(rnd, f, x)
			if spoilt == nil || bytes.Equal(spoilt, whole) {
				continue
			}
			opt := VerifyOptions{Key: f.key.public}
			if kind.pinned {
				opt.Pinned = pin
			}
			made[i]++
			done++
			r := verify(t, spoilt, opt)
			// A file whose last line was cut open, by one bit even, may pass for one that was cut.
			cutOpen := spoilt[len(spoilt)-1] != '\n' && r.Verdict == IncompleteTail
			if r.Verdict != Tampered && !cutOpen || r.Why == "" {
				t.Fatalf("%s was not found: %+v\n%s\nwas\n%s", kind.name, r, spoilt, whole)
			}
			if r.FirstBad < r.Covered || r.FirstBad < r.Records && r.Verdict == Tampered || r.Covered > r.Records {
				t.Fatalf("%s: the report contradicts itself: %+v", kind.name, r)
			}
		}
	}
	for i, kind := range kinds {
		if made[i] < least {
			t.Errorf("%s was tried only %d times", kind.name, made[i])
		}
	}
}

// TestFirstBad: the report names the record, where anything can tell which it is.
func TestFirstBad(t *testing.T) {
	f := newForger(t)
	rnd := rand.New(rand.NewPCG(1, 2))
	const n = 20
	rows := chain(randomRecords(rnd, n))
	x := exported{made: f.export(rows, 8, 16), rows: rows}
	lineOf := func(seq int) int { return seq + seq/8 } // the checkpoints stand between
	for seq := range n {
		i := lineOf(seq)
		edited := x.spoil(func(body []string) []string {
			body[i] = line(recordWord, reencode(recordOf(body[i]), func(r *Record) { r.Operator = "eve" }))
			return body
		})
		want := uint64(seq)
		switch seq {
		case 7, 15, 19: // only the checkpoint behind it is contradicted, and that covers eight
			want = uint64(seq / 8 * 8)
		}
		if r := verify(t, edited, VerifyOptions{}); r.Verdict != Tampered || r.FirstBad != want || r.Records > want {
			t.Errorf("record %d edited: %+v, want first bad %d", seq, r, want)
		}
		relinked := x.spoil(func(body []string) []string {
			body[i] = line(recordWord, reencode(recordOf(body[i]), func(r *Record) { r.Prev[0] ^= 1 }))
			return body
		})
		// The last of a block may as well have followed another one.
		if r := verify(t, relinked, VerifyOptions{}); r.Verdict != Tampered || r.FirstBad != uint64(seq) && (r.FirstBad+1 != uint64(seq) || seq%8 != 7 && seq != n-1) {
			t.Errorf("record %d linked to another: %+v", seq, r)
		}
		deleted := x.spoil(func(body []string) []string { return slices.Delete(body, i, i+1) })
		if r := verify(t, deleted, VerifyOptions{}); r.Verdict != Tampered || r.FirstBad != uint64(seq) {
			t.Errorf("record %d deleted: %+v", seq, r)
		}
	}
}

// TestCutAtEveryByte is H77. The tail of a cut export is incomplete, never tampered; but once a
// checkpoint of what was cut stays, it is tampered.
func TestCutAtEveryByte(t *testing.T) {
	f := newForger(t)
	const n = 12
	rows := chain(randomRecords(rand.New(rand.NewPCG(3, 4)), n))
	for _, covered := range [][]int{nil, {11}, {9, 10, 11, 12}} {
		x := f.export(rows, covered...)
		whole := x.bytes()
		start := strings.Index(string(whole), x.body[len(x.body)-3-len(covered)])
		for cut := start; cut < len(whole); cut++ {
			r := verify(t, whole[:cut], VerifyOptions{Key: f.key.public})
			lines := strings.Count(string(whole[:cut]), "\n"+recordWord)
			if r.Verdict != IncompleteTail || r.Records > uint64(lines) || r.Records+1 < uint64(lines) || r.Covered > r.Records {
				t.Fatalf("checkpoints %v, cut at %d of %d: %+v, %d records are there", covered, cut, len(whole), r, lines)
			}
			if r.Covered > 0 && !slices.Contains(covered, int(r.Covered)) {
				t.Fatalf("covered %d", r.Covered)
			}
		}
		// The same with what stood behind the cut put back behind it.
		for _, rest := range []string{x.end + "\n", x.body[len(x.body)-1] + "\n" + x.end + "\n"} {
			for cut := start; cut < len(whole)-len(rest); cut++ {
				if r := verify(t, append(bytes.Clone(whole[:cut]), rest...), VerifyOptions{Key: f.key.public}); r.Verdict != Tampered {
					t.Fatalf("checkpoints %v, the part from %d on is gone, but not the end: %+v", covered, cut, r)
				}
			}
		}
	}
}

func TestPinned(t *testing.T) {
	f, other := newForger(t), newForger(t)
	rows := chain(randomRecords(rand.New(rand.NewPCG(5, 6)), 10))
	x := f.export(rows, 3, 6)
	whole := x.bytes()
	pin := func(n int) []byte { return f.checkpoint(headOf(rows[:n])) }
	for n := range 11 {
		if r := verify(t, whole, VerifyOptions{Pinned: pin(n)}); r.Verdict != OK {
			t.Errorf("pinned at %d: %+v", n, r)
		}
	}
	report := verify(t, whole, VerifyOptions{})
	if r := verify(t, whole, VerifyOptions{Pinned: report.Checkpoint}); r.Verdict != OK {
		t.Errorf("pinned to its own report: %+v", r)
	}
	older := f.export(rows[:7], 3, 6).bytes()
	if r := verify(t, older, VerifyOptions{}); r.Verdict != OK {
		t.Errorf("an older export by itself: %+v", r)
	}
	if r := verify(t, older, VerifyOptions{Pinned: report.Checkpoint}); r.Verdict != Tampered || r.FirstBad != 7 {
		t.Errorf("an older export: %+v", r)
	}
	if r := verify(t, whole[:len(whole)-9], VerifyOptions{Pinned: report.Checkpoint}); r.Verdict != IncompleteTail {
		t.Errorf("a cut export: %+v", r)
	}
	if r := verify(t, other.export(rows, 3).bytes(), VerifyOptions{Pinned: pin(3)}); r.Verdict != Tampered {
		t.Errorf("signed by another key than the pin: %+v", r)
	}
	for name, opt := range map[string]VerifyOptions{
		"garbage":                 {Pinned: []byte("x")},
		"pin of another than key": {Key: f.key.public, Pinned: other.checkpoint(headOf(rows))},
		"long pin":                {Pinned: make([]byte, maxCheckpoint+1)},
		"no key":                  {Key: "scrier"},
	} {
		if r, err := Verify(bytes.NewReader(whole), opt); wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("%s: %v, %+v", name, err, r)
		}
	}
}

func TestVerifyReportsReadErrors(t *testing.T) {
	f := newForger(t)
	whole := f.export(chain(randomRecords(rand.New(rand.NewPCG(7, 8)), 5))).bytes()
	wrong := errors.New("the cable is out")
	for n := range len(whole) {
		if r, err := Verify(io.MultiReader(bytes.NewReader(whole[:n]), iotest.ErrReader(wrong)), VerifyOptions{}); !errors.Is(err, wrong) || r.Verdict != 0 {
			t.Fatalf("error after %d bytes: %v, %+v", n, err, r)
		}
	}
	r, err := Verify(iotest.OneByteReader(bytes.NewReader(whole)), VerifyOptions{})
	if err != nil || r.Verdict != OK {
		t.Errorf("byte by byte: %v, %+v", err, r)
	}
}

func TestLongLines(t *testing.T) {
	f := newForger(t)
	long := bytes.Repeat([]byte{0}, MaxRecord)
	x := f.export(nil)
	for name, l := range map[string]string{
		"longest line":    line(recordWord, long),
		"too long a line": line(recordWord, append(long, long...)),
		"no line at all":  strings.Repeat("record ", 1<<20),
	} {
		x.body = []string{l}
		if r := verify(t, x.bytes(), VerifyOptions{}); r.Verdict != Tampered || r.FirstBad != 0 {
			t.Errorf("%s: %+v", name, r)
		}
	}
	if r := verify(t, nil, VerifyOptions{}); r.Verdict != IncompleteTail {
		t.Errorf("nothing: %+v", r)
	}
}

// TestExportGoesOut: an export stops with its reader and with its context.
func TestExportGoesOut(t *testing.T) {
	l := open(t, config(t.TempDir()))
	defer shut(t, l)
	fill(t, l, 1500)
	wrong := errors.New("the cable is out")
	if err := l.Export(context.Background(), failing{wrong}); !errors.Is(err, wrong) {
		t.Errorf("writer: %v", err)
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(wrong)
	if err := l.Export(ctx, io.Discard); !errors.Is(err, wrong) {
		t.Errorf("context: %v", err)
	}
	if _, err := l.Records(ctx, 0, 1); !errors.Is(err, wrong) {
		t.Errorf("records: %v", err)
	}
	// Appending goes on while a slow reader exports, and the export is of one moment.
	slow := &pausing{pause: func() { fill(t, l, 1) }}
	if err := l.Export(context.Background(), slow); err != nil {
		t.Fatal(err)
	}
	if r := verify(t, slow.Bytes(), VerifyOptions{Key: l.VerifierKey()}); r.Verdict != OK || r.Records != 1500 || l.Size() <= 1500 {
		t.Errorf("%+v of %d", r, l.Size())
	}
}

type failing struct{ err error }

func (f failing) Write([]byte) (int, error) { return 0, f.err }

// pausing lets something happen before each Write.
type pausing struct {
	bytes.Buffer
	pause func()
}

func (p *pausing) Write(b []byte) (int, error) {
	p.pause()
	return p.Buffer.Write(b)
}

// FuzzVerify: no panic, no contradiction, and OK only for what the key's owner made.
func FuzzVerify(f *testing.F) {
	forge := fixedForger(f) // the same in every process that fuzzes
	rows := chain(randomRecords(rand.New(rand.NewPCG(9, 10)), 4))
	whole := forge.export(rows, 2).bytes()
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte(exportFormat + "\n"))
	f.Add([]byte(exportFormat + "\nkey x\nrecord AAAA\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Verify(bytes.NewReader(data), VerifyOptions{Key: forge.key.public})
		if err != nil {
			t.Fatalf("an error of the export: %v", err)
		}
		if r.Verdict == OK && !bytes.Equal(data, whole) {
			t.Errorf("%q is ok", data)
		}
		if (r.Verdict == OK) != (r.Why == "") || r.Covered > r.Records {
			t.Errorf("%+v", r)
		}
		if _, err := Verify(bytes.NewReader(data), VerifyOptions{}); err != nil {
			t.Fatalf("an error of the export: %v", err)
		}
	})
}
