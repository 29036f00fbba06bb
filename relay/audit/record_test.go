package audit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/fxamacker/cbor/v2"
	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/tlog"
	"pgregory.net/rapid"
)

func decode64(t testing.TB, s string) []byte {
	t.Helper()
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func anyEvent(t *rapid.T) Event {
	s := func(name string) string {
		b := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, name)
		if len(b) > 0 && rapid.Bool().Draw(t, name+" long") {
			b = bytes.Repeat(b, 50)
		}
		return string(b)
	}
	e := Event{Type: "t" + s("type"), Operator: s("operator"), Envoy: s("envoy"), EnvoyName: s("name"), Session: s("session"), Source: s("source"), Code: s("code"), Detail: s("detail")}
	if n := rapid.IntRange(0, 40).Draw(t, "fields"); n > 0 {
		e.Fields = map[string]string{}
		for range n {
			e.Fields[s("key")] = s("value")
		}
	}
	return e
}

// reference encodes r with the library.
func reference(t interface{ Fatal(...any) }, r Record) []byte {
	mode, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		t.Fatal(err)
	}
	data, err := mode.Marshal(row{r.Seq, r.Time.UnixNano(), r.Prev, r.Type, r.Operator, r.Envoy, r.EnvoyName, r.Session, r.Source, r.Code, r.Detail, r.Fields})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// accepts says whether the library reads data as a record and writes it the same way.
func accepts(t interface{ Fatal(...any) }, data []byte) bool {
	mode, err := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
	}.DecMode()
	if err != nil {
		t.Fatal(err)
	}
	var w row
	if mode.Unmarshal(data, &w) != nil || w.Type == "" || len(w.Fields) > maxFields || len(data) > MaxRecord {
		return false
	}
	r := Record{w.Seq, time.Unix(0, w.Time), w.Prev, Event{w.Type, w.Operator, w.Envoy, w.EnvoyName, w.Session, w.Source, w.Code, w.Detail, w.Fields}}
	return bytes.Equal(reference(t, r), data)
}

// TestRecordEncoding: decode(encode(x)) == x, whatever the event.
func TestRecordEncoding(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := anyEvent(t)
		b := e.bounded()
		if diff := cmp.Diff(b, b.bounded()); diff != "" {
			t.Fatalf("bounding again changes it: %s", diff)
		}
		r := Record{Seq: rapid.Uint64().Draw(t, "seq"), Time: time.Unix(0, rapid.Int64().Draw(t, "time")).UTC(), Event: b}
		copy(r.Prev[:], rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, "prev"))
		data, err := r.encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := decodeRecord(data)
		if diff := cmp.Diff(r, got); diff != "" || err != nil {
			t.Fatal(err, diff)
		}
		if diff := cmp.Diff(reference(t, r), data); diff != "" {
			t.Fatal(diff)
		}
	})
}

// TestLargestEventFits: no event is too long to be recorded.
func TestLargestEventFits(t *testing.T) {
	long := strings.Repeat("é", 1<<15)
	e := Event{Type: long, Operator: long, Envoy: long, EnvoyName: long, Session: long, Source: long, Code: long, Detail: long, Fields: map[string]string{}}
	for i := range 1000 {
		e.Fields[fmt.Sprint(i)+long] = long
	}
	b := e.bounded()
	data, err := Record{Event: b}.encode()
	if err != nil || len(data) > MaxRecord {
		t.Fatalf("%d bytes, %v", len(data), err)
	}
	if len(b.Fields) != maxFields || b.Fields[lostKey] != "969" {
		t.Errorf("%d fields, %s lost", len(b.Fields), b.Fields[lostKey])
	}
	for _, s := range []string{b.Type, b.Detail} {
		if !strings.HasSuffix(s, "é"+cutMark) || !utf8.ValidString(s) {
			t.Errorf("cut to %q", s[len(s)-20:])
		}
	}
}

func TestCut(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", ""},
		{"short", "short"},
		{strings.Repeat("a", 16), strings.Repeat("a", 16)},
		{strings.Repeat("a", 17), "aaaaaaaa" + cutMark},
		{"aaaaaaa\u00e9aaaaaaaaaaaa", "aaaaaaa" + cutMark},       // the cut falls into the é
		{"a\xffb", "a\ufffdb"},                                   // not UTF-8
		{"\xff\xffaaaaaaaaaaaaaa", "\ufffd" + "aaaaa" + cutMark}, // grows by the replacement
		{"\xf0\x9f\x92\xa9\xf0\x9f\x92\xa9\xf0\x9f\x92\xa9\xf0\x9f\x92\xa9a", "💩💩" + cutMark},
	} {
		got := cut(c.in, 16)
		if len(got) > 16 || !utf8.ValidString(got) || c.want != got {
			t.Errorf("cut %q: %q, want %q", c.in, got, c.want)
		}
	}
}

func TestRecordIsCanonical(t *testing.T) {
	good, err := Record{Seq: 1, Event: Event{Type: "t", Fields: map[string]string{"a": "1", "b": "2"}}}.encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeRecord(good); err != nil {
		t.Fatal(err)
	}
	// {1: 1, 2: …, 3: h'00…', 4: "t", 12: {"a": "1", "b": "2"}}
	replace := func(old, new string) []byte {
		if bytes.Count(good, []byte(old)) != 1 {
			t.Fatalf("%x is not there once in %x", old, good)
		}
		return bytes.Replace(good, []byte(old), []byte(new), 1)
	}
	for name, data := range map[string][]byte{
		"empty":             {},
		"not a map":         {0x01},
		"longer integer":    replace("\xa5\x01\x01", "\xa5\x01\x18\x01"),
		"longer map header": replace("\xa5\x01", "\xb8\x05\x01"),
		"indefinite map":    append(replace("\xa5\x01", "\xbf\x01"), 0xff),
		"longer string":     replace("\x61t", "\x78\x01t"),
		"chunked string":    replace("\x61t", "\x7f\x61t\xff"),
		"float":             replace("\xa5\x01\x01", "\xa5\x01\xf9\x3c\x00"),
		"tag":               replace("\x04\x61t", "\x04\xd8\x20\x61t"),
		"null":              replace("\x04\x61t", "\x04\xf6"),
		"bytes for text":    replace("\x04\x61t", "\x04\x41t"),
		"not UTF-8":         replace("\x04\x61t", "\x04\x61\xff"),
		"fields reordered":  replace("\x61a\x61\x31\x61b\x61\x32", "\x61b\x61\x32\x61a\x61\x31"),
		"field twice":       replace("\x61b\x61\x32", "\x61a\x61\x32"),
		"key twice":         append(replace("\xa5\x01", "\xa6\x01"), 0x04, 0x61, 'u'),
		"unknown key":       append(replace("\xa5\x01", "\xa6\x01"), 0x18, 99, 0x01),
		"empty string":      replace("\x04\x61t", "\x04\x61t\x05\x60"),
		"keys reordered":    replace("\xa5\x01\x01\x02", "\xa5\x02\x01\x01"),
		"trailing byte":     append(bytes.Clone(good), 0),
		"short hash":        replace("\x03\x58\x20"+strings.Repeat("\x00", 32), "\x03\x58\x1f"+strings.Repeat("\x00", 31)),
		"text key":          replace("\x04\x61t", "\x61\x34\x61t"),
		"too long":          bytes.Repeat([]byte{0}, MaxRecord+1),
	} {
		if r, err := decodeRecord(data); err == nil {
			t.Errorf("%s: %x was accepted as %+v", name, data, r)
		}
		if accepts(t, data) {
			t.Errorf("%s: the reference accepts %x", name, data)
		}
	}
}

// FuzzRecord: whatever decodes has this one encoding.
func FuzzRecord(f *testing.F) {
	for i := range 3 {
		data, err := Record{Seq: uint64(i) << 40, Time: time.Unix(int64(i), 5), Event: event(i)}.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Add([]byte{0xa4, 1, 0, 2, 0, 3, 0x40, 4, 0x60})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := decodeRecord(data)
		if (err == nil) != accepts(t, data) {
			t.Errorf("%x: %v, the reference says %v", data, err, accepts(t, data))
		}
		if err != nil {
			return
		}
		again, err := r.encode()
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%x decodes, but is encoded as %x, %v", data, again, err)
		}
	})
}

// TestTree compares the growing tree with tlog's at every size.
func TestTree(t *testing.T) {
	var (
		grown  tree
		stored []tlog.Hash
	)
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		hashes := make([]tlog.Hash, len(indexes))
		for i, n := range indexes {
			if n >= int64(len(stored)) {
				return nil, errors.New("not stored yet")
			}
			hashes[i] = stored[n]
		}
		return hashes, nil
	})
	for n := range int64(300) {
		want, err := tlog.TreeHash(n, reader)
		if err != nil {
			t.Fatal(err)
		}
		if grown.root() != want || grown.size != uint64(n) {
			t.Fatalf("root of %d records differs", n)
		}
		loaded, err := loadTree(uint64(n), reader)
		if err != nil || loaded.root() != want {
			t.Fatalf("loaded root of %d records differs, %v", n, err)
		}
		h := tlog.RecordHash(fmt.Append(nil, n))
		next, err := tlog.StoredHashesForRecordHash(n, h, reader)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(next, grown.add(h, nil)); diff != "" {
			t.Fatal(diff)
		}
		stored = append(stored, next...)
	}
}

func TestCheckpointHasOneSpelling(t *testing.T) {
	k, err := loadKey(t.TempDir()+"/k", "scrier-relay/x", true)
	if err != nil {
		t.Fatal(err)
	}
	other, err := loadKey(t.TempDir()+"/k", "scrier-relay/x", true)
	if err != nil {
		t.Fatal(err)
	}
	c := checkpoint{origin: "scrier-relay/x", size: 12, root: tlog.RecordHash(nil)}
	signed, err := c.sign(k.signer)
	if err != nil {
		t.Fatal(err)
	}
	got, err := openCheckpoint(signed, k.verifier)
	if diff := cmp.Diff(c, got, cmp.AllowUnexported(checkpoint{})); diff != "" || err != nil {
		t.Fatal(err, diff)
	}
	for i := range len(signed) * 8 {
		flipped := bytes.Clone(signed)
		flipped[i/8] ^= 1 << (i % 8)
		if _, err := openCheckpoint(flipped, k.verifier); err == nil {
			t.Errorf("bit %d of byte %d may be flipped in %q", i%8, i/8, signed)
		}
	}
	if _, err := openCheckpoint(signed, other.verifier); err == nil {
		t.Error("another key's checkpoint is accepted")
	}
	// Signed, but not in this form.
	for name, text := range map[string]string{
		"size with zero": "scrier-relay/x\n012\n" + c.root.String() + "\n",
		"size with plus": "scrier-relay/x\n+12\n" + c.root.String() + "\n",
		"size too large": "scrier-relay/x\n9223372036854775808\n" + c.root.String() + "\n",
		"other origin":   "scrier-relay/y\n12\n" + c.root.String() + "\n",
		"short root":     "scrier-relay/x\n12\nAAAA\n",
		"no root":        "scrier-relay/x\n12\n",
		"many lines":     c.text() + strings.Repeat("x\n", 9),
		"stray bits":     "scrier-relay/x\n12\n" + strings.Repeat("A", 42) + "B=\n",
	} {
		raw, err := k.signer.Sign([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		h := k.signer.KeyHash()
		sig := append([]byte{byte(h >> 24), byte(h >> 16), byte(h >> 8), byte(h)}, raw...)
		signed := fmt.Appendf(nil, "%s\n— scrier-relay/x %s\n", text, base64.StdEncoding.EncodeToString(sig))
		if c, err := openCheckpoint(signed, k.verifier); err == nil {
			t.Errorf("%s: accepted as %+v", name, c)
		}
	}
}
