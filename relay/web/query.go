package web

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"scrier/wire"
)

// known refuses parameters that the route does not have, and those that are given twice: a filter that was
// misspelt would answer with everything.
func (to route) known(r *http.Request) error {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return &wire.Error{Code: wire.BadRequest, Detail: "the part of the address behind the question mark is not well formed: " + wire.Printable(strings.TrimPrefix(err.Error(), "invalid URL escape ")), Err: err}
	}
	var names []string
	for _, p := range to.query {
		names = append(names, p.name)
	}
	takes := "it takes none"
	if len(names) > 0 {
		takes = "it takes " + strings.Join(names, ", ")
	}
	for name, values := range q {
		if !slices.Contains(names, name) {
			return wire.Errorf(wire.BadRequest, "%s %s has no parameter %q: %s", to.method, to.pattern, wire.Printable(name), takes)
		}
		if len(values) > 1 && !to.many {
			return wire.Errorf(wire.BadRequest, "the parameter %s is given %d times: once is right", name, len(values))
		}
	}
	return nil
}
