package sftp

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// FuzzServe: whatever comes, each request has one answer, with its number, and none of them reads a file or changes
// anything, as this guest may do neither.
func FuzzServe(f *testing.F) {
	f.Add([]byte{0, 0, 0, 5, fxpInit, 0, 0, 0, 3, 0, 0, 0, 10, fxpStat, 0, 0, 0, 1, 0, 0, 0, 1, '.'})
	f.Add([]byte{0, 0, 0, 5, fxpInit, 0, 0, 0, 3, 0, 0, 0, 10, fxpOpendir, 0, 0, 0, 1, 0, 0, 0, 1, '.', 0, 0, 0, 13, fxpReaddir, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 1})
	f.Add([]byte{0, 0, 0, 5, fxpInit, 0, 0, 0, 3, 0, 0, 0, 18, fxpOpen, 0, 0, 0, 1, 0, 0, 0, 1, 'f', 0, 0, 0, 2, 0, 0, 0, 0})
	for _, e := range extensions {
		p := newReply(fxpExtended, 7).string(e.name).string("x").string("y").uint64(0)
		binary.BigEndian.PutUint32(p, uint32(len(p)-4))
		f.Add(append([]byte{0, 0, 0, 5, fxpInit, 0, 0, 0, 3}, p...))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var out bytes.Buffer
		_ = Serve(bytes.NewReader(in), &out, Config{})
		answers, first := out.Bytes(), true
		for rest := in; len(answers) > 0; first = false {
			request, answer := packet(t, &rest), packet(t, &answers)
			switch {
			case first:
				if answer[0] != fxpVersion {
					t.Fatalf("it begins with type %d", answer[0])
				}
			case !bytes.Equal(request[1:5], answer[1:5]):
				t.Fatalf("%x is answered with %x", request, answer)
			case answer[0] == fxpData:
				t.Fatal("it has read something")
			case request[0] == fxpOpen && answer[0] == fxpHandle:
				t.Fatal("it has opened a file")
			}
		}
	})
}

// packet cuts one off.
func packet(t *testing.T, from *[]byte) []byte {
	t.Helper()
	if len(*from) < 4 || uint64(len(*from)-4) < uint64(binary.BigEndian.Uint32(*from)) {
		t.Fatalf("an answer without a request, or half of one: %x", *from)
	}
	n := 4 + int(binary.BigEndian.Uint32(*from))
	p := (*from)[4:n]
	*from = (*from)[n:]
	return p
}
