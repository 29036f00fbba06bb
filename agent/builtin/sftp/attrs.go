package sftp

import (
	"golang.org/x/sys/unix"
)

// The flags that say which attributes follow.
const (
	attrSize        = 0x1
	attrUIDGID      = 0x2
	attrPermissions = 0x4
	attrTimes       = 0x8
	attrExtended    = 0x80000000
)

const permissions = 0o7777 // of a mode, what chmod sets

// attrs are a file's attributes, or those of them that a peer wants to set.
type attrs struct {
	flags        uint32
	size         uint64
	uid, gid     uint32
	mode         uint32
	atime, mtime uint32 // seconds since 1970
}

// attrs reads attributes. Extended ones are skipped: there are none that are known.
func (r *request) attrs() attrs {
	a := attrs{flags: r.uint32()}
	if a.flags&attrSize != 0 {
		a.size = r.uint64()
	}
	if a.flags&attrUIDGID != 0 {
		a.uid, a.gid = r.uint32(), r.uint32()
	}
	if a.flags&attrPermissions != 0 {
		a.mode = r.uint32()
	}
	if a.flags&attrTimes != 0 {
		a.atime, a.mtime = r.uint32(), r.uint32()
	}
	if a.flags&attrExtended != 0 {
		for n := r.uint32(); n > 0 && !r.bad; n-- {
			r.bytes()
			r.bytes()
		}
	}
	return a
}

// perm is the mode of a new file or folder.
func (a attrs) perm(otherwise uint32) uint32 {
	if a.flags&attrPermissions != 0 {
		return a.mode & permissions
	}
	return otherwise
}

func (a attrs) times() []unix.Timespec {
	return []unix.Timespec{unix.NsecToTimespec(int64(a.atime) * 1e9), unix.NsecToTimespec(int64(a.mtime) * 1e9)}
}

// attrs adds what is known of a file. Version 3 has 32 bits for a time.
func (p reply) attrs(st *unix.Stat_t) reply {
	return p.uint32(attrSize | attrUIDGID | attrPermissions | attrTimes).uint64(uint64(st.Size)).
		uint32(st.Uid).uint32(st.Gid).uint32(st.Mode).uint32(uint32(st.Atim.Sec)).uint32(uint32(st.Mtim.Sec))
}
