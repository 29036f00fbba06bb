package line

import (
	"bufio"
	"bytes"
	"io"
	"net/netip"
	"time"

	"scrier/wire"
)

// Sizes of an authorized_keys file. sshd knows none of these limits; a longer line is skipped (and
// kept), a larger file is not read.
const (
	MaxFile = 16 << 20 // one that is edited: 10,000 keys have some 7 MB
	MaxRead = 64 << 20 // one that is only read
	maxLine = 256 << 10
)

// Standing is what a line means for one key, in rising order of what it grants.
type Standing uint8

// The standings.
const (
	Absent     Standing = iota // the line is not about this key
	Refused                    // it has the key, but sshd does not accept it and reads on
	Restricted                 // sshd accepts it, or may do so, and it gives less than a shell with a terminal (Finding.Grant), or on terms that a session cannot keep
	Eligible                   // sshd accepts it, and it gives a shell with a terminal
)

// Query is what is looked for in a file.
type Query struct {
	Keys        []Key
	Source      netip.Addr // the operator's, which from= is held against; the zero value: nobody knows it
	DNS         bool       // sshd holds from= against the names of addresses too
	Environment bool       // sshd sets what environment= says, or it is not known whether it does
	Now         time.Time
	Zone        Zone
}

// Finding is what the file means for one key. The first line that sshd accepts decides; if there is
// none, the first line with the key does.
type Finding struct {
	Standing    Standing
	Reason      Reason
	Line        int       // of the file, counted from 1; 0 if no line has the key
	ValidBefore time.Time // zero: for ever
	Grant       Grant     // what it gives; nothing, unless sshd surely accepts it on terms that a session can keep
}

// Find goes through a file as sshd's auth_check_authkeys_file does, and returns one finding for each
// of the keys. It holds one line in memory, and stops when nothing more can be found.
func (a Query) Find(file io.Reader) ([]Finding, error) {
	found := make([]Finding, len(a.Keys))
	r := bufio.NewReaderSize(file, maxLine+1)
	left := len(a.Keys)
	for n := 1; left > 0; n++ {
		line, err := r.ReadSlice('\n')
		long := false
		for err == bufio.ErrBufferFull {
			long = true
			_, err = r.ReadSlice('\n')
		}
		if err != nil && err != io.EOF {
			return nil, err
		}
		if !long {
			left -= a.line(bytes.TrimSuffix(line, []byte{'\n'}), n, found)
		}
		if err == io.EOF {
			break
		}
	}
	return found, nil
}

// line does what sshd's auth_check_authkey_line does, for keys that are no certificates. It returns for how
// many of the keys the search is over: sshd stops at the first line that it accepts.
func (a Query) line(line []byte, n int, found []Finding) (over int) {
	if i := bytes.IndexByte(line, 0); i >= 0 {
		line = line[:i] // sshd is written in C: its string ends here
	}
	line = bytes.TrimLeft(line, " \t")
	if len(line) == 0 || line[0] == '#' {
		return 0
	}
	var rest []byte // behind options, if these are some
	var options string
	if end, ok := skipOptions(line); ok {
		rest = bytes.TrimLeft(line[end:], " \t")
	}
	for i, key := range a.Keys {
		if found[i].Standing >= Restricted {
			continue
		}
		var f Finding
		switch {
		case holdsKey(line, key):
			f = a.judge("")
		case holdsKey(rest, key):
			if options == "" {
				options = string(line[:len(line)-len(rest)]) // with the blank behind: they may end in a comma
			}
			f = a.judge(options)
		}
		if f.Standing > found[i].Standing {
			f.Line = n
			found[i] = f
			if f.Standing >= Restricted {
				over++
			}
		}
	}
	return over
}

// judge says what a line with these options means for the key that it holds.
func (a Query) judge(text string) Finding {
	o, ok := parseOptions(text, a.Zone)
	switch {
	case !ok:
		return Finding{Standing: Refused, Reason: BadOptions}
	case o.certAuthority:
		return Finding{Standing: Refused, Reason: Authority}
	case o.principals:
		return Finding{Standing: Refused, Reason: Principals}
	case !o.validBefore.IsZero() && o.validBefore.Unix() < a.Now.Unix():
		return Finding{Standing: Refused, Reason: Expired}
	}
	if o.fromSet {
		switch verdict, why := a.from(o.from); verdict {
		case no:
			return Finding{Standing: Refused, Reason: why}
		case maybe:
			o.doubt(why)
		}
	}
	restricted := o.unclear
	switch {
	case restricted != NoReason:
	case o.environment && a.Environment:
		restricted = Environment
	case o.verifyRequired:
		restricted = VerifyRequired
	}
	if restricted != NoReason {
		return Finding{Standing: Restricted, Reason: restricted}
	}
	f := Finding{Standing: Eligible, ValidBefore: o.validBefore, Grant: o.grant()}
	if !f.Grant.Has(wire.MayShell) {
		f.Standing, f.Reason = Restricted, f.Grant.Lacks(wire.MayShell)
	}
	return f
}

// holdsKey does what sshd's sshkey_read and then sshkey_equal do: s must begin with the key's name,
// blanks, and the key in base64, in which b64_pton skips white space. Base64 that is not in its
// canonical form does not match.
func holdsKey(s []byte, key Key) bool {
	rest, ok := bytes.CutPrefix(s, []byte(key.name))
	if !ok || len(rest) == 0 || (rest[0] != ' ' && rest[0] != '\t') {
		return false
	}
	rest = bytes.TrimLeft(rest, " \t")
	if i := bytes.IndexAny(rest, " \t"); i >= 0 {
		rest = rest[:i]
	}
	text := key.Text
	for _, c := range rest {
		switch {
		case c == '\r', c == '\v', c == '\f':
		case text != "" && text[0] == c:
			text = text[1:]
		default:
			return false
		}
	}
	return text == ""
}
