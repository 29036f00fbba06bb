//go:build !agentonly

package main

import (
	"testing"

	"scrier/wire"
)

func TestSelector(t *testing.T) {
	prod := map[string]string{"env": "prod", "role": "web", "rack": ""}
	for _, c := range []struct {
		in   []string
		fits bool
	}{
		{nil, true},
		{[]string{"env=prod"}, true},
		{[]string{"env==prod"}, true},
		{[]string{" env = prod , role != db "}, true},
		{[]string{"env=prod", "role=db"}, false},
		{[]string{"env=prod,role!=web"}, false},
		{[]string{"env=pro"}, false},
		{[]string{"env=Prod"}, false},
		{[]string{"zone!=a"}, true}, // who has no zone is not in a
		{[]string{"zone=a"}, false},
		{[]string{"zone="}, false},
		{[]string{"rack="}, true},
		{[]string{"rack"}, true},
		{[]string{"!rack"}, false},
		{[]string{"!zone"}, true},
		{[]string{"env!=prod"}, false},
	} {
		s, err := parseSelector(c.in)
		if err != nil {
			t.Errorf("%q: %v", c.in, err)
		} else if s.fits(prod) != c.fits {
			t.Errorf("%q fits: %v", c.in, !c.fits)
		}
	}
	for _, in := range []string{"", ",", "=", "=prod", "!", "!=x", "env=prod,", "a b", "!!a"} {
		if s, err := parseSelector([]string{in}); wire.CodeOf(err) != wire.Usage {
			t.Errorf("%q: %+v, %v", in, s, err)
		}
	}
}
