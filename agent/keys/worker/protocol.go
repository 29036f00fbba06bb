package worker

import (
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// What the agent and its worker say to each other, in strict CBOR with integer keys: one [Request]
// on the worker's standard input up to its end, one [Reply] on its standard output. Both come from
// the same program file, so there are no versions.
//
// The worker is the user's process, and the user may change what it says. So the agent does not
// trust the reply: [ReadReply] refuses all that was not asked for, and what is left concerns this
// user's own files.
const (
	maxRequest = 6 << 20 // bytes
	maxAnswer  = 1 << 20 // bytes
	maxDetail  = 256     // bytes of Result.Detail
)

// Bounds of a request.
const (
	MaxPaths = 16
	MaxKeys  = 64
	MaxLines = 256 // journalled sessions of one file

	MaxPrivate = 4
)

// Task is what a request asks for.
type Task uint8

// The tasks.
const (
	Look    Task = 1 // read the files, match the operator's keys
	Install Task = 2 // append one line
	Clean   Task = 3 // take lines out
)

// Request is one task for the files of one user.
type Request struct {
	Task   Task     `cbor:"1,keyasint"`
	UID    uint32   `cbor:"2,keyasint"`
	Home   string   `cbor:"3,keyasint"`
	Files  []string `cbor:"4,keyasint"` // absolute paths; one, but for look
	Strict bool     `cbor:"5,keyasint"` // StrictModes
	Now    int64    `cbor:"6,keyasint"` // Unix seconds
	UTC    bool     `cbor:"7,keyasint"` // sshd reads the Z suffix
	Agent  string   `cbor:"8,keyasint"`
	Keys   [][]byte `cbor:"9,keyasint,omitempty"`  // look: the operator's, in SSH wire form
	Source string   `cbor:"10,keyasint,omitempty"` // look: the operator's address; empty: nobody knows it
	DNS    bool     `cbor:"11,keyasint,omitempty"` // look: UseDNS

	Line string `cbor:"12,keyasint,omitempty"` // install
	Size int64  `cbor:"13,keyasint,omitempty"` // install: of the file, as journalled
	Tail bool   `cbor:"14,keyasint,omitempty"` // install: it ends in a newline, as journalled

	Lines    []string `cbor:"15,keyasint,omitempty"` // clean: exactly these
	Torn     []Torn   `cbor:"16,keyasint,omitempty"`
	Sweep    bool     `cbor:"17,keyasint,omitempty"` // clean: and all that are recognised and over
	Sessions []string `cbor:"18,keyasint,omitempty"` // clean: sessions of this agent that are over

	Environment bool   `cbor:"19,keyasint,omitempty"` // look: PermitUserEnvironment
	Shell       string `cbor:"20,keyasint,omitempty"` // look: the account's

	Private []uint32 `cbor:"21,keyasint,omitempty"` // groups that have nobody but the user in them, and may write
	Follow  bool     `cbor:"22,keyasint,omitempty"` // look: follow links out of the home, read files with several names: nobody will write
}

// Torn is an append that a crash may have cut short.
type Torn struct {
	Size int64  `cbor:"1,keyasint"` // of the file before it
	Text []byte `cbor:"2,keyasint"`
}

// Result is what became of one file.
type Result struct {
	Code    wire.Code `cbor:"1,keyasint,omitempty"`
	Detail  string    `cbor:"2,keyasint,omitempty"`
	Missing bool      `cbor:"3,keyasint,omitempty"` // there is no such file
	Size    int64     `cbor:"4,keyasint,omitempty"`
	Tail    bool      `cbor:"5,keyasint,omitempty"` // it is empty or ends in a newline
	Found   []Found   `cbor:"6,keyasint,omitempty"`

	Changed     bool `cbor:"7,keyasint,omitempty"` // install: not done, as size or tail is another than in the journal
	Removed     int  `cbor:"8,keyasint,omitempty"`
	Neutralised int  `cbor:"9,keyasint,omitempty"`  // clean: lines that were only disabled; Code says why
	Off         bool `cbor:"10,keyasint,omitempty"` // clean: none of the lines is in force any more
	Left        int  `cbor:"11,keyasint,omitempty"` // clean: lines that should go and are still in force

	Group uint32 `cbor:"12,keyasint,omitempty"` // of Code: the group that may write, if that alone is in the way
}

// Found is the line that decides for one of the operator's keys.
type Found struct {
	Key      int           `cbor:"1,keyasint"` // index in Request.Keys
	Standing line.Standing `cbor:"2,keyasint"`
	Reason   line.Reason   `cbor:"3,keyasint,omitempty"`
	Line     int           `cbor:"4,keyasint"`           // counted from 1
	Before   int64         `cbor:"5,keyasint,omitempty"` // Unix seconds; 0: for ever
	Rights   []wire.Right  `cbor:"6,keyasint,omitempty"` // these three are the line's Grant
	Open     []string      `cbor:"7,keyasint,omitempty"`
	Listen   []string      `cbor:"8,keyasint,omitempty"`
}

// NewFound is the finding for the operator's key of that index.
func NewFound(key int, f line.Finding) Found {
	l := Found{Key: key, Standing: f.Standing, Reason: f.Reason, Line: f.Line, Rights: f.Grant.Rights}
	if !f.ValidBefore.IsZero() {
		l.Before = f.ValidBefore.Unix()
	}
	for _, p := range f.Grant.Open {
		l.Open = append(l.Open, p.String())
	}
	for _, p := range f.Grant.Listen {
		l.Listen = append(l.Listen, p.String())
	}
	return l
}

// Grant is what the line gives; ok is false if no line can give that.
func (l Found) Grant() (g line.Grant, ok bool) {
	g.Rights = l.Rights
	for _, list := range []struct {
		texts   []string
		permits *[]line.Permit
	}{{l.Open, &g.Open}, {l.Listen, &g.Listen}} {
		for _, text := range list.texts {
			p, ok := line.ParsePermit(text)
			if !ok {
				return line.Grant{}, false
			}
			*list.permits = append(*list.permits, p)
		}
	}
	return g, g.Check()
}

// Reply has one result for each of Request.Files, in their order.
type Reply struct {
	Files []Result `cbor:"1,keyasint"`
	Shell Shell    `cbor:"2,keyasint,omitempty"` // look
}

// Shell is what can be said of an account's shell.
type Shell uint8

// What sshd demands of a shell is that it is a regular file that somebody may execute.
const (
	UsableShell Shell = iota // or one of which nothing can be said
	NoSuchShell
	NotExecutable
)

// strictCBOR refuses duplicate and unknown keys, tags, indefinite lengths and deep nesting.
func strictCBOR() (cbor.DecMode, error) {
	return cbor.DecOptions{
		DupMapKey:         cbor.DupMapKeyEnforcedAPF,
		IndefLength:       cbor.IndefLengthForbidden,
		TagsMd:            cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField,
		UTF8:              cbor.UTF8RejectInvalid,
		MaxNestedLevels:   8,
		MaxArrayElements:  4096,
		MaxMapPairs:       64,
	}.DecMode()
}

// readStrict reads one value, which must be all that r has and at most limit bytes long.
func readStrict(r io.Reader, limit int64, v any) error {
	mode, err := strictCBOR()
	if err != nil {
		return err
	}
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return err
	}
	if int64(len(b)) > limit {
		return fmt.Errorf("longer than %d bytes", limit)
	}
	return mode.Unmarshal(b, v)
}

// Marshal writes the request for [Worker.Work].
func (q Request) Marshal() ([]byte, error) {
	text, err := cbor.Marshal(q)
	if err == nil && len(text) > maxRequest {
		err = fmt.Errorf("%d bytes, at most %d can be asked", len(text), maxRequest)
	}
	return text, err
}

// ReadReply reads the answer to q, which ends with from, and refuses what was not asked for.
func ReadReply(from io.Reader, q Request) (Reply, error) {
	var a Reply
	if err := readStrict(from, maxAnswer, &a); err != nil {
		return Reply{}, err
	}
	if err := a.check(q); err != nil {
		return Reply{}, err
	}
	for i := range a.Files {
		a.Files[i].Detail = wire.Printable(a.Files[i].Detail)
	}
	return a, nil
}

// check refuses an answer that does not fit q. The user's process may say anything.
func (a Reply) check(q Request) error {
	if a.Shell > NotExecutable {
		return fmt.Errorf("no state %d of a shell", a.Shell)
	}
	if len(a.Files) != len(q.Files) {
		return fmt.Errorf("%d files in the answer, %d asked", len(a.Files), len(q.Files))
	}
	for _, f := range a.Files {
		if len(f.Detail) > maxDetail || len(f.Found) > len(q.Keys) || f.Size < 0 || f.Removed < 0 || f.Neutralised < 0 || f.Left < 0 ||
			f.Removed > line.MaxFile || f.Neutralised > line.MaxFile || f.Left > line.MaxFile {
			return fmt.Errorf("a number out of range")
		}
		if f.Code != wire.None && (f.Code < wire.KeyfileSymlink || f.Code > wire.KeyfileUnsupported) && f.Code != wire.Internal {
			return fmt.Errorf("code %d is not a worker's", f.Code)
		}
		seen := map[int]bool{}
		for _, l := range f.Found {
			if l.Key < 0 || l.Key >= len(q.Keys) || seen[l.Key] || l.Standing == line.Absent || l.Standing > line.Eligible ||
				l.Reason >= line.ReasonEnd || l.Line < 1 || l.Line > line.MaxRead {
				return fmt.Errorf("a finding that was not asked for")
			}
			if _, ok := l.Grant(); !ok {
				return fmt.Errorf("a line that gives what none can")
			}
			seen[l.Key] = true
		}
	}
	return nil
}
