package guac_test

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"scrier/relay/guac"
	"scrier/wire"
)

// What is read is what Append would have written, whichever way it comes; nothing is read twice
// or past the end; and neither filter falls over it.
func FuzzReader(f *testing.F) {
	f.Add([]byte("4.size,1.0,4.1024,3.768;4.sync,13.1700000000000;"))
	f.Add([]byte("3.img,1.1,2.14,1.0,9.image/png,1.0,1.0;4.blob,1.1,4.AAAA;3.end,1.1;"))
	f.Add([]byte("4.name,1.\U0001f600;8.required,8.password;"))
	f.Add([]byte("4.argv,1.0,10.text/plain,8.password;9.clipboard,1.1,10.text/plain;"))
	f.Add([]byte("5.touch,1.0,1.5,1.5,1.1,1.1,1.0,3.0.5;3.key,5.65293,1.1;5.mouse,2.-1,1.2,1.7;"))
	f.Add([]byte("10.filesystem,1.0,5.Drive;3.put,1.0,1.3,10.text/plain,2./a;4.copy,2.-1,1.0,1.0,1.1,1.1,2.14,1.0,1.0,1.0;"))
	f.Add([]byte("99999.\xff\xc3;"))
	all := guac.Policy{ToEnvoy: true, FromEnvoy: true, Upload: true, Download: true, Audio: true}
	f.Fuzz(func(t *testing.T, b []byte) {
		whole, at := guac.NewReader(bytes.NewReader(b)), 0
		bytewise := guac.NewReader(iotest.OneByteReader(bytes.NewReader(b)))
		fromGuacd, fromViewer := guac.NewFromGuacd(all), guac.NewFromViewer(all)
		fromViewer.Follow(fromGuacd)
		for {
			i, err := whole.Next()
			j, err2 := bytewise.Next()
			if err != nil {
				if err2 == nil || wire.CodeOf(err) != wire.CodeOf(err2) && !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Fatalf("at once: %v; byte by byte: %v", err, err2)
				}
				return
			}
			if err2 != nil || !slices.Equal(elements(i), elements(j)) {
				t.Fatalf("at once: %q; byte by byte: %v", i.Raw(), err2)
			}
			if !bytes.Equal(i.Raw(), b[at:at+len(i.Raw())]) {
				t.Fatalf("%q is not what lies at %d", i.Raw(), at)
			}
			at += len(i.Raw())
			e := elements(i)
			if again := guac.Append(nil, e[0], e[1:]...); !bytes.Equal(again, i.Raw()) {
				t.Fatalf("%q is written as %q", i.Raw(), again)
			}
			guac.StatusOf(i)
			fromViewer.Required(guac.RequiredNames(i)...)
			if _, reply, _ := fromGuacd.Pass(i); reply != nil {
				if r, err := guac.NewReader(bytes.NewReader(reply)).Next(); err != nil || !r.Is("ack") {
					t.Fatalf("the reply to %q is %q", i.Raw(), reply)
				}
			}
			_ = fromViewer.Check(i)
		}
	})
}

// Whatever the elements are, they come back: valid text as it was, the rest with U+FFFD.
func FuzzAppend(f *testing.F) {
	f.Add("name", "a;b,1.c", "")
	f.Add("\U0001f600", "\xff", "\U0010ffff")
	f.Add("sync", "3.nop;", "\xed\xa0\x80")
	f.Fuzz(func(t *testing.T, opcode, a, b string) {
		want := []string{opcode, a, b}
		for n, s := range want {
			want[n] = strings.ToValidUTF8(s, "\ufffd")
			if utf8.RuneCountInString(want[n]) > 8192 {
				return
			}
		}
		i, err := guac.NewReader(bytes.NewReader(guac.Append(nil, opcode, a, b))).Next()
		if err != nil {
			if len(want[0])+len(want[1])+len(want[2]) < 60000 {
				t.Fatal(err)
			}
			return
		}
		if got := elements(i); !slices.Equal(got, want) {
			t.Fatalf("%q became %q", want, got)
		}
	})
}
