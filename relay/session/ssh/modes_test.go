package ssh

import (
	"bytes"
	"testing"
)

// TestModes: what a viewer says of its terminal reaches the server only if it is well formed.
func TestModes(t *testing.T) {
	good := []byte{1, 0, 0, 0, 3, 42, 0, 0, 0, 1, 0}
	if got := Modes(good); !bytes.Equal(got, good) {
		t.Errorf("%v", got)
	}
	for name, bad := range map[string][]byte{
		"none": nil, "no end": good[:10], "an end alone": {0}, "half an argument": {1, 0, 0, 3}, "half, and an end": {1, 0, 0, 0, 0},
		"more behind the end": append(append([]byte{}, good...), 1), "an opcode of another length": {160, 0, 0, 0, 1, 0},
		"too many": append(bytes.Repeat([]byte{1, 0, 0, 0, 3}, 300), 0),
	} {
		if got := Modes(bad); !bytes.Equal(got, usual) {
			t.Errorf("%s: %v", name, got)
		}
	}
}

func FuzzModes(f *testing.F) {
	f.Add([]byte{42, 0, 0, 0, 1, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		got := Modes(b)
		if len(got)%5 != 1 || len(got) > maxModes || got[len(got)-1] != modeEnd {
			t.Errorf("%v", got)
		}
	})
}
