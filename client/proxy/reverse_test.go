package proxy

import "testing"

// TestReversePlaces: a listener that was cancelled does not take away the one that the client has put in its place.
func TestReversePlaces(t *testing.T) {
	type listener struct {
		Listener
		_ byte
	}
	var v reverse
	at := place{"tcp", "localhost", 8080}
	first, second := &listener{}, &listener{}
	if !v.put(at, first) || v.put(at, second) {
		t.Fatal("the place is not taken once")
	}
	if v.take(at) != Listener(first) || !v.put(at, second) {
		t.Fatal("the place is not free")
	}
	v.drop(at, first)
	if v.take(at) != Listener(second) {
		t.Error("the second one is forgotten, and nobody can cancel it")
	}
}
