package sftp

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"
	"time"

	"scrier/wire"
)

// Op is a kind of change.
type Op string

// The kinds of changes.
const (
	Remove  Op = "remove"
	Mkdir   Op = "mkdir"
	Rmdir   Op = "rmdir"
	Rename  Op = "rename"
	Symlink Op = "symlink"
	Link    Op = "link"
	Setstat Op = "setstat"
	Copy    Op = "copy" // within the machine
	Open    Op = "open" // only as one that was refused
)

// File is what was done with one file while it was open.
type File struct {
	Path       []byte // as the client named it, cut to [MaxPath]
	Down, Up   *Transfer
	Attributes string // what was set while it was open, as in [Change]
	// Status is OK if all went well, else that of the first request that did not, or Unanswered if the file was
	// not closed.
	Status Status
}

// Transfer is what passed in one direction.
type Transfer struct {
	Bytes uint64 // of content, those that passed twice counted twice
	// SHA256 is of the content, if it passed in order from the file's begin, each byte once, and all was written. Blocks that
	// overtake each other within some MiB are in order.
	SHA256 []byte
}

// Change is a request that changes something, and its answer.
type Change struct {
	Op         Op
	Path, To   []byte // cut to [MaxPath]. Of a symbolic link Path is what it shows to, and of OpenSSH's servers To is the link
	Attributes string // what was set: size, uid:gid, mode, modified
	Status     Status
	Refused    wire.Right // the right that it lacked, if it was not passed on
}

// MaxPath is how much of a path a record has, in bytes: the name at its end is never lost.
const MaxPath = 900

// pathHead is how much of a path that is cut is its begin, in bytes.
const pathHead = 300

// bounded copies what a record keeps of a path.
func bounded(path []byte) []byte {
	if len(path) <= MaxPath {
		return append([]byte{}, path...)
	}
	const mark = "…"
	b := append(make([]byte, 0, MaxPath), path[:pathHead]...)
	b = append(b, mark...)
	return append(b, path[len(path)-(MaxPath-len(b)):]...)
}

// Fields gives the file as a record of the audit log has it.
func (f File) Fields() map[string]string {
	m := map[string]string{"path": wire.Printable(string(f.Path))}
	f.Down.fields(m, "download")
	f.Up.fields(m, "upload")
	if f.Attributes != "" {
		m["attributes"] = f.Attributes
	}
	if f.Status != OK {
		m["status"] = f.Status.String()
	}
	return m
}

func (t *Transfer) fields(m map[string]string, direction string) {
	if t == nil {
		return
	}
	m[direction] = strconv.FormatUint(t.Bytes, 10)
	if t.SHA256 != nil {
		m[direction+"_sha256"] = hex.EncodeToString(t.SHA256)
	} else {
		m[direction+"_sha256"] = "not in order"
	}
}

// Fields gives the change as a record of the audit log has it.
func (c Change) Fields() map[string]string {
	m := map[string]string{"change": string(c.Op), "path": wire.Printable(string(c.Path))}
	if c.To != nil {
		m["to"] = wire.Printable(string(c.To))
	}
	if c.Attributes != "" {
		m["attributes"] = c.Attributes
	}
	if c.Status != OK {
		m["status"] = c.Status.String()
	}
	if c.Refused != "" {
		m["refused"] = string(c.Refused)
	}
	return m
}

// The flags of attributes (SSH_FILEXFER_ATTR_*).
const (
	attrSize   = 1 << 0
	attrOwner  = 1 << 1
	attrMode   = 1 << 2
	attrTimes  = 1 << 3
	attrOthers = 1 << 31
)

// noSize is the size of attributes that have none.
const noSize uint64 = 1<<64 - 1

// attributes reads what a request sets, as a record says it, and the size.
func attributes(f *fields) (text string, size uint64) {
	size = noSize
	var b []string
	flags := f.uint32()
	if flags&attrSize != 0 {
		size = f.uint64()
		b = append(b, fmt.Sprintf("size %d", size))
	}
	if flags&attrOwner != 0 {
		b = append(b, fmt.Sprintf("owner %d:%d", f.uint32(), f.uint32()))
	}
	if flags&attrMode != 0 {
		b = append(b, fmt.Sprintf("mode %04o", f.uint32()&0o7777))
	}
	if flags&attrTimes != 0 {
		f.uint32() // when it was read
		b = append(b, "modified "+time.Unix(int64(f.uint32()), 0).UTC().Format(time.RFC3339))
	}
	if flags&attrOthers != 0 {
		b = append(b, "others")
	}
	return strings.Join(b, ", "), size
}

// capped is a server's answer to limits@openssh.com with what passes here: max-packet-length, max-read-length,
// max-write-length, max-open-handles, where 0 is none.
func capped(payload []byte) []byte {
	out := append([]byte{}, payload...)
	for i, most := range [...]uint64{maxPacket, maxPacket - 1024, maxPacket - 1024, maxHandles} {
		if at := 8 * i; at+8 <= len(out) {
			if n := binary.BigEndian.Uint64(out[at:]); n == 0 || n > most {
				binary.BigEndian.PutUint64(out[at:], most)
			}
		}
	}
	return out
}
