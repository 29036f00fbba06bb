//go:build !agentonly

package main

import (
	"regexp"
	"strings"

	"scrier/wire"
)

// A selector picks things by their labels: each of its conditions must hold.
type selector []condition

// condition is one condition.
type condition struct {
	key, value string
	exists     bool // the key alone is meant
	not        bool
}

var labelKey = regexp.MustCompile(`^[^\s=!,]+$`)

// parseSelector reads what --label was given: env=prod,role!=db,rack,!old. Several mean that all must hold.
func parseSelector(in []string) (selector, error) {
	var out selector
	for _, s := range in {
		for one := range strings.SplitSeq(s, ",") {
			t, err := parseCondition(strings.TrimSpace(one))
			if err != nil {
				return nil, err
			}
			out = append(out, t)
		}
	}
	return out, nil
}

func parseCondition(s string) (condition, error) {
	t := condition{}
	key, value, ok := strings.Cut(s, "=")
	switch {
	case !ok:
		key, t.not = strings.CutPrefix(s, "!")
		t.exists = true
	default:
		key, t.not = strings.CutSuffix(key, "!")
		value = strings.TrimPrefix(value, "=") // env==prod
	}
	t.key, t.value = strings.TrimSpace(key), strings.TrimSpace(value)
	if !labelKey.MatchString(t.key) {
		return t, wire.Errorf(wire.Usage, "--label %q is none of KEY=VALUE, KEY!=VALUE, KEY and !KEY, nor several with commas between them", s)
	}
	return t, nil
}

// fits says whether labels are those that are meant. A thing without the key has not its value.
func (s selector) fits(labels map[string]string) bool {
	for _, t := range s {
		value, has := labels[t.key]
		if (has && (t.exists || value == t.value)) == t.not {
			return false
		}
	}
	return true
}
