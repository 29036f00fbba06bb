package roads

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

const relay = "relay.example.com:8443"

type place struct {
	Memory
	now     time.Time
	network string
}

func newPlace(t *testing.T) *place {
	p := &place{now: time.Now(), network: "eth0 192.0.2.1"}
	p.Memory = Memory{filepath.Join(t.TempDir(), "state", "roads.json"), func() time.Time { return p.now }, func() string { return p.network }}
	return p
}

func (p *place) won(t *testing.T, road wire.Road, why string) {
	t.Helper()
	if err := p.Won(relay, road, why); err != nil {
		t.Fatal(err)
	}
}

func (p *place) begins(t *testing.T, want wire.Road, why string) {
	t.Helper()
	if road, reason := p.First(relay); road != want || reason != why {
		t.Errorf("in %s it begins with %s (%q), want %s (%q)", p.network, road, reason, want, why)
	}
}

// What won is remembered for its network and relay alone, and not for ever.
func TestMemory(t *testing.T) {
	p := newPlace(t)
	p.begins(t, wire.QUIC, "")
	p.won(t, wire.QUIC, "")
	if _, err := os.Stat(p.Path); err == nil {
		t.Error("a file was written for what is usual")
	}
	p.won(t, wire.TCP, "UDP got no answer")
	p.begins(t, wire.TCP, "UDP got no answer")
	if road, _ := p.First("other.example.com:8443"); road != wire.QUIC {
		t.Error("another relay begins with it too")
	}
	p.network = "wlan0 198.51.100.1"
	p.begins(t, wire.QUIC, "")
	p.won(t, wire.QUIC, "")
	p.network = "eth0 192.0.2.1"
	p.begins(t, wire.TCP, "UDP got no answer")
	p.now = p.now.Add(believed)
	p.begins(t, wire.QUIC, "")
	p.won(t, wire.TCP, "UDP got no answer")
	p.begins(t, wire.TCP, "UDP got no answer")
	p.now = p.now.Add(-time.Hour) // the clock was wrong
	p.begins(t, wire.QUIC, "")
	p.now = p.now.Add(time.Hour)
	p.won(t, wire.QUIC, "")
	p.begins(t, wire.QUIC, "")
	if i, err := os.Stat(p.Path); err != nil || i.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v, %v", i, err)
	}
	if all := p.load().Roads; len(all) != 0 {
		t.Errorf("%v is left", all)
	}
}

// It is bounded, and the networks of last stay.
func TestManyNetworks(t *testing.T) {
	p := newPlace(t)
	for i := range 3 * maxNotes {
		p.network = fmt.Sprint("eth0 ", i, strings.Repeat("x", 2*maxText))
		p.won(t, wire.TCP, strings.Repeat("y", 2*maxText))
	}
	if all := p.load().Roads; len(all) != maxNotes {
		t.Errorf("%d are remembered", len(all))
	}
	if i, err := os.Stat(p.Path); err != nil || i.Size() > maxFile {
		t.Errorf("the file: %v, %v", i, err)
	}
	p.network = cut(p.network)
	if road, _ := p.First(relay); road != wire.TCP {
		t.Error("that of last is not remembered")
	}
}

// A file that cannot be used is none, and is replaced by the next note.
func TestBrokenMemory(t *testing.T) {
	p := newPlace(t)
	p.won(t, wire.TCP, "UDP got no answer")
	good, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"empty": "", "half": string(good[:len(good)/2]), "no JSON": "roads", "another type": `{"roads": 7}`, "a list": `[]`,
		"another road": strings.Replace(string(good), `"tcp"`, `"carrier pigeon"`, 1), "control characters": strings.Replace(string(good), "UDP", `\u001b[2J`, 1),
		"giant": strings.Repeat(" ", 1<<20) + string(good),
	} {
		if err := os.WriteFile(p.Path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if road, why := p.First(relay); road != wire.QUIC || why != "" {
			t.Errorf("%s: it begins with %s, %q", name, road, why)
		}
		p.won(t, wire.TCP, "again")
		p.begins(t, wire.TCP, "again")
	}
	if err := os.Remove(p.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.Path, 0o700); err != nil { // what cannot be written is said
		t.Fatal(err)
	}
	p.begins(t, wire.QUIC, "")
	if p.Won(relay, wire.TCP, "") == nil {
		t.Error("a note was kept where there is a folder")
	}
	if (Memory{Now: time.Now}).Won(relay, wire.TCP, "") != nil {
		t.Error("without a file there is an error")
	}
}
