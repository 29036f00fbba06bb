package web

import (
	"net/http"
	"net/url"
	"strconv"

	"scrier/wire"
)

// maxPage is the most rows that one answer holds.
const maxPage = 1000

// part is an answer of which there is more.
type part struct {
	rows any
	next url.Values // the query of the next one, nil behind the last
}

// link tells where the next page is (RFC 8288).
func (p part) link(w http.ResponseWriter, r *http.Request) {
	if p.next != nil {
		next := url.URL{Path: r.URL.Path, RawQuery: p.next.Encode()}
		w.Header().Set("Link", "<"+next.String()+`>; rel="next"`)
	}
}

// following is the query of the next page: the request's own, but for one value.
func following(q url.Values, set, value string, drop ...string) url.Values {
	next := url.Values{}
	for name, v := range q {
		next[name] = v
	}
	for _, name := range drop {
		next.Del(name)
	}
	next.Set(set, value)
	return next
}

// limitOf reads ?limit=, 0 if there is none.
func limitOf(q url.Values) (int, error) {
	s := q.Get("limit")
	if s == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(s, 10, 32)
	if err != nil || n == 0 || n > maxPage {
		return 0, wire.Errorf(wire.BadRequest, "limit is a number from 1 to %d", maxPage)
	}
	return int(n), nil
}

// numberOf reads the number of a record, def if there is none.
func numberOf(q url.Values, name string, def uint64) (uint64, error) {
	s := q.Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0, wire.Errorf(wire.BadRequest, "%s is the number of a record", name)
	}
	return n, nil
}

// flagOf reads what is true or false, false if there is none.
func flagOf(q url.Values, name string) (bool, error) {
	switch s := q.Get(name); s {
	case "true":
		return true, nil
	case "", "false":
		return false, nil
	default:
		return false, wire.Errorf(wire.BadRequest, "%s is true or false, and not %q", name, wire.Printable(s))
	}
}
