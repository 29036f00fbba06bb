package roads

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"scrier/wire"
)

// What has been learnt of a network is believed there, for a day, and stands beside what is known of its roads.
func TestRests(t *testing.T) {
	p := newPlace(t)
	if r := p.Rest(relay); r != (Rest{}) {
		t.Errorf("%+v is known of a network where nobody was", r)
	}
	learnt := Rest{Held: 20 * time.Second, Failed: 40 * time.Second}
	note := func(r Rest) {
		t.Helper()
		if err := p.Rested(relay, r); err != nil {
			t.Fatal(err)
		}
	}
	note(Rest{Held: 15 * time.Second})
	note(learnt)
	p.won(t, wire.TCP, "UDP got no answer")
	if r := p.Rest(relay); r != learnt {
		t.Errorf("%+v is known, want %+v", r, learnt)
	}
	note(learnt)
	p.begins(t, wire.TCP, "UDP got no answer")
	if r := p.Rest("other.example.com:8443"); r != (Rest{}) {
		t.Errorf("%+v is known of another relay", r)
	}
	p.network = "wlan0 198.51.100.1"
	if r := p.Rest(relay); r != (Rest{}) {
		t.Errorf("%+v is known in another network", r)
	}
	p.network = "eth0 192.0.2.1"
	p.now = p.now.Add(restBelieved)
	if r := p.Rest(relay); r != (Rest{}) {
		t.Errorf("%+v is believed a day later", r)
	}
	for i := range 3 * maxNotes {
		p.network = fmt.Sprint("eth0 ", i, strings.Repeat("x", 2*maxText))
		note(learnt)
	}
	if all := p.load().Rests; len(all) != maxNotes {
		t.Errorf("%d are remembered", len(all))
	}
	if i, err := os.Stat(p.Path); err != nil || i.Size() > maxFile {
		t.Errorf("the file: %v, %v", i, err)
	}
	if (Memory{Now: time.Now}).Rested(relay, learnt) != nil {
		t.Error("without a file there is an error")
	}
}

// Who writes the file decides nothing that could do harm.
func TestBrokenRests(t *testing.T) {
	p := newPlace(t)
	if err := p.Rested(relay, Rest{Held: 20 * time.Second}); err != nil {
		t.Fatal(err)
	}
	good, err := os.ReadFile(p.Path)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{
		"an hour":            strings.Replace(string(good), `"held": 20`, `"held": 3600`, 1),
		"less than nothing":  strings.Replace(string(good), `"held": 20`, `"held": -1`, 1),
		"control characters": strings.Replace(string(good), `"relay": "`, `"relay": "\u001b`, 1),
	} {
		if data == string(good) {
			t.Fatal(name)
		}
		if err := os.WriteFile(p.Path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		if r := p.Rest(relay); r != (Rest{}) {
			t.Errorf("%s: %+v is believed", name, r)
		}
	}
}
