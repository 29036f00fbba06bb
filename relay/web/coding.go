package web

import (
	"slices"
	"strconv"
	"strings"
)

// identity is the absence of a content coding.
const identity = "identity"

// pickCoding chooses a content coding by Accept-Encoding (RFC 9110, 12.5.3) out of what there is,
// best first. The client's weight decides, then our order. A coding that the client does not name is not
// used. If the client refuses all of them, the answer is sent without one.
func pickCoding(accept []string, has []string) string {
	weights := map[string]float64{}
	for _, header := range accept {
		for item := range strings.SplitSeq(header, ",") {
			coding, params, _ := strings.Cut(item, ";")
			coding = strings.ToLower(strings.TrimSpace(coding))
			if coding == "x-gzip" {
				coding = "gzip"
			}
			if q, ok := weight(params); ok && coding != "" {
				weights[coding] = q
			}
		}
	}
	of := func(coding string) float64 {
		if q, ok := weights[coding]; ok {
			return q
		}
		return weights["*"]
	}
	best, most := identity, weights[identity] // unnamed, it is good when nothing else is
	for _, c := range slices.Backward(has) {
		if q := of(c); q > 0 && q >= most {
			best, most = c, q
		}
	}
	return best
}

// weight reads "q=0.5"; without it the weight is 1. What is not understood is not accepted.
func weight(params string) (float64, bool) {
	params = strings.TrimSpace(params)
	if params == "" {
		return 1, true
	}
	name, value, _ := strings.Cut(params, "=")
	if !strings.EqualFold(strings.TrimSpace(name), "q") {
		return 0, false
	}
	value = strings.TrimSpace(value)
	if value == "" || strings.Trim(value, "0123456789.") != "" || len(value) > 5 { // 0.123, RFC 9110, 12.4.2
		return 0, false
	}
	q, err := strconv.ParseFloat(value, 64)
	return q, err == nil && q <= 1
}
