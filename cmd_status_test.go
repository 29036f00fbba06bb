//go:build !agentonly

package main

import "testing"

// A relay cannot have another fingerprint shown than the one that is pinned here. Over its admin socket nothing is.
func TestStatusKeepsThePin(t *testing.T) {
	said := aboutRelay{"1.2", "other", "SHA256:other"}
	s := status{Fingerprint: "SHA256:pinned", Cluster: "mine"}
	if s.told(said); s.Fingerprint != "SHA256:pinned" || s.Cluster != "mine" || s.RelayVersion != "1.2" {
		t.Errorf("%+v", s)
	}
	s = status{}
	if s.told(said); s.Fingerprint != "SHA256:other" || s.Cluster != "other" {
		t.Errorf("%+v", s)
	}
}
