package wire

import "strings"

// Problem is the body of an API error (RFC 9457).
type Problem struct {
	Type   string `json:"type"` // urn:scrier:error:NAME
	Title  string `json:"title"`
	Status int    `json:"status"`
	Code   Code   `json:"code"`
	Detail string `json:"detail,omitempty"`
	Hint   string `json:"hint,omitempty"`
}

// problemPrefix begins a Problem's type; the code's name follows.
const problemPrefix = "urn:scrier:error:"

// ProblemOf describes err for an answer with the given HTTP status.
func ProblemOf(err error, status int) Problem {
	c := CodeOf(err)
	return Problem{Type: problemPrefix + c.String(), Title: c.Meaning(), Status: status, Code: c, Detail: DetailOf(err), Hint: HintOf(err)}
}

// Err is the problem as an error. Its detail and its hint, the peer's words, are one line each that can be shown.
func (p Problem) Err() error {
	code := p.Code
	if named, ok := ParseCode(strings.TrimPrefix(p.Type, problemPrefix)); ok {
		code = named
	}
	return &Error{Code: code, Detail: Printable(cutString(p.Detail, maxWords)), Advice: Printable(cutString(p.Hint, maxWords))}
}
