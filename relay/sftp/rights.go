package sftp

import "scrier/wire"

// Rights are what a client may do. With neither of them nothing passes. With one of them names, attributes and the lists of
// folders may be read, as no client can do its work without.
type Rights struct {
	Upload   bool // write and make files and folders, rename, remove, change attributes
	Download bool // read files
}

// need is what a request needs.
type need byte

const (
	needAny   need = 0 // either right
	needRead  need = 1
	needWrite need = 2
)

// missing is the first right that is needed and not there; empty: none.
func (r Rights) missing(n need) wire.Right {
	switch {
	case n&needWrite != 0 && !r.Upload:
		return wire.MayUpload
	case n&needRead != 0 && !r.Download:
		return wire.MayDownload
	case !r.Upload && !r.Download:
		return wire.MayDownload
	}
	return ""
}

// denial is what the client is told.
func denial(right wire.Right) string {
	if right == wire.MayUpload {
		return "Scrier: files cannot be changed here: the policy of the relay or of the machine (scrier.allow) does not allow upload"
	}
	return "Scrier: files cannot be read here: the policy of the relay or of the machine (scrier.allow) does not allow download"
}

// The flags of OPEN (SSH_FXF_*).
const (
	openRead   = 1 << 0
	openWrite  = 1 << 1
	openAppend = 1 << 2
)

// needOf is what opening a file with these flags needs. Without openWrite servers open for reading, whatever else is said.
func needOf(flags uint32) (n need) {
	if flags&openRead != 0 || flags&openWrite == 0 {
		n |= needRead
	}
	if flags&^openRead != 0 {
		n |= needWrite
	}
	return n
}
