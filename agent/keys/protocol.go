package keys

import (
	"fmt"
	"io"

	"github.com/fxamacker/cbor/v2"

	"scrier/wire"
)

// What the agent and its worker say to each other: one request on the worker's standard input
// up to its end, one answer on its standard output. The agent does not trust the answer.
const (
	maxRequest = 1 << 20
	maxAnswer  = 64 << 10
	maxPaths   = 16
	maxKeys    = 64
	maxLines   = 256 // journalled sessions of one file
	maxDetail  = 256
)

type task uint8

const (
	taskLook    task = 1 // read the files, match the operator's keys
	taskInstall task = 2 // append one line
	taskClean   task = 3 // take lines out
)

type request struct {
	Task    task     `cbor:"1,keyasint"`
	UID     uint32   `cbor:"2,keyasint"`
	Home    string   `cbor:"3,keyasint"`
	Files   []string `cbor:"4,keyasint"` // absolute paths; one, but for look
	Strict  bool     `cbor:"5,keyasint"` // StrictModes
	Now     int64    `cbor:"6,keyasint"` // Unix seconds
	UTC     bool     `cbor:"7,keyasint"` // sshd reads the Z suffix
	Agent   string   `cbor:"8,keyasint"`
	Keys    [][]byte `cbor:"9,keyasint,omitempty"`
	Sources []string `cbor:"10,keyasint,omitempty"`
	Names   []string `cbor:"11,keyasint,omitempty"`

	Line string `cbor:"12,keyasint,omitempty"` // install
	Size int64  `cbor:"13,keyasint,omitempty"` // install: of the file, as journalled
	Tail bool   `cbor:"14,keyasint,omitempty"` // install: it ends in a newline, as journalled

	Lines    []string   `cbor:"15,keyasint,omitempty"` // clean: exactly these
	Torn     []tornText `cbor:"16,keyasint,omitempty"`
	Sweep    bool       `cbor:"17,keyasint,omitempty"` // clean: by the grammar too
	Sessions []string   `cbor:"18,keyasint,omitempty"` // clean: of this agent, and over
}

type tornText struct {
	Size int64  `cbor:"1,keyasint"`
	Text []byte `cbor:"2,keyasint"`
}

type answerFile struct {
	Code    wire.Code    `cbor:"1,keyasint,omitempty"`
	Detail  string       `cbor:"2,keyasint,omitempty"`
	Missing bool         `cbor:"3,keyasint,omitempty"`
	Size    int64        `cbor:"4,keyasint,omitempty"`
	Tail    bool         `cbor:"5,keyasint,omitempty"`
	Found   []answerLine `cbor:"6,keyasint,omitempty"`

	Changed     bool `cbor:"7,keyasint,omitempty"` // install: not done, the file is not as journalled
	Removed     int  `cbor:"8,keyasint,omitempty"`
	Neutralised int  `cbor:"9,keyasint,omitempty"`  // disabled in place; Code says why
	Off         bool `cbor:"10,keyasint,omitempty"` // none of the lines is in force any more
	Left        int  `cbor:"11,keyasint,omitempty"` // clean: lines that were found, should go, and are in force still
}

type answerLine struct {
	Key      int      `cbor:"1,keyasint"`
	Standing standing `cbor:"2,keyasint"`
	Reason   reason   `cbor:"3,keyasint,omitempty"`
	Sources  []int    `cbor:"4,keyasint,omitempty"` // indices
	Before   int64    `cbor:"5,keyasint,omitempty"` // Unix seconds; 0: for ever
	Verify   bool     `cbor:"6,keyasint,omitempty"`
}

type reply struct {
	Files []answerFile `cbor:"1,keyasint"`
}

// strictCBOR takes neither duplicate nor unknown keys, tags, floats' tricks, nor deep nesting.
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

// readStrict reads one value that ends with r and is at most limit bytes long.
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

// check is what the agent demands of an answer to q, whoever wrote it.
func (a reply) check(q request) error {
	if len(a.Files) != len(q.Files) {
		return fmt.Errorf("%d files in the answer, %d asked", len(a.Files), len(q.Files))
	}
	for _, f := range a.Files {
		if len(f.Detail) > maxDetail || len(f.Found) > len(q.Keys) || f.Size < 0 || f.Removed < 0 || f.Neutralised < 0 || f.Left < 0 ||
			f.Removed > maxFile || f.Neutralised > maxFile || f.Left > maxFile {
			return fmt.Errorf("a number out of range")
		}
		if f.Code != wire.None && (f.Code < wire.KeyfileSymlink || f.Code > wire.KeyfileUnsupported) && f.Code != wire.Internal {
			return fmt.Errorf("code %d is not a worker's", f.Code)
		}
		seen := map[int]bool{}
		for _, l := range f.Found {
			if l.Key < 0 || l.Key >= len(q.Keys) || seen[l.Key] || l.Standing == absent || l.Standing > eligible || l.Reason >= reasonEnd {
				return fmt.Errorf("a finding that was not asked for")
			}
			seen[l.Key] = true
			last := -1
			for _, s := range l.Sources {
				if s <= last || s >= len(q.Sources) {
					return fmt.Errorf("a source that was not asked for")
				}
				last = s
			}
			if l.Standing == eligible && last < 0 {
				return fmt.Errorf("an eligible line that lets nobody in")
			}
		}
	}
	return nil
}
