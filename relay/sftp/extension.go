package sftp

import "scrier/wire"

// extension is what is known of an extended request.
type extension struct {
	need   need
	answer packet // besides STATUS
	shape  shape
	op     Op // what it changes; empty: nothing
}

// shape is which fields a request has.
type shape byte

const (
	shapeless shape = iota // nothing that counts here; it may be longer than maxRequest
	ofHandle               // a handle
	ofPath                 // a path
	ofPaths                // two paths
	ofAttrs                // a path, attributes
	ofHandleAttrs
	ofCopy // a handle, uint64 offset, uint64 length, a handle, uint64 offset
)

// extensions are those that pass (OpenSSH's PROTOCOL, 4, and draft-ietf-secsh-filexfer-extensions-00).
var extensions = map[string]extension{
	"posix-rename@openssh.com":       {needWrite, statusPacket, ofPaths, Rename},
	"hardlink@openssh.com":           {needWrite, statusPacket, ofPaths, Link},
	"lsetstat@openssh.com":           {needWrite, statusPacket, ofAttrs, Setstat},
	"fsync@openssh.com":              {needWrite, statusPacket, ofHandle, ""},
	"copy-data":                      {needRead | needWrite, statusPacket, ofCopy, Copy},
	"statvfs@openssh.com":            {needAny, replyPacket, ofPath, ""},
	"fstatvfs@openssh.com":           {needAny, replyPacket, ofHandle, ""},
	limitsName:                       {needAny, replyPacket, shapeless, ""},
	"expand-path@openssh.com":        {needAny, namePacket, ofPath, ""},
	"home-directory":                 {needAny, namePacket, ofPath, ""},
	"users-groups-by-id@openssh.com": {needAny, replyPacket, shapeless, ""},
}

const limitsName = "limits@openssh.com"

// requests are the others, by their types. OPEN and WRITE are judged apart.
var requests = map[packet]extension{
	closePacket:    {needAny, statusPacket, ofHandle, ""},
	readPacket:     {needRead, dataPacket, ofHandle, ""},
	lstatPacket:    {needAny, attrsPacket, ofPath, ""},
	fstatPacket:    {needAny, attrsPacket, ofHandle, ""},
	setstatPacket:  {needWrite, statusPacket, ofAttrs, Setstat},
	fsetstatPacket: {needWrite, statusPacket, ofHandleAttrs, Setstat},
	opendirPacket:  {needAny, handlePacket, ofPath, ""},
	readdirPacket:  {needAny, namePacket, ofHandle, ""},
	removePacket:   {needWrite, statusPacket, ofPath, Remove},
	mkdirPacket:    {needWrite, statusPacket, ofAttrs, Mkdir},
	rmdirPacket:    {needWrite, statusPacket, ofPath, Rmdir},
	realpathPacket: {needAny, namePacket, ofPath, ""},
	statPacket:     {needAny, attrsPacket, ofPath, ""},
	renamePacket:   {needWrite, statusPacket, ofPaths, Rename},
	readlinkPacket: {needAny, namePacket, ofPath, ""},
	symlinkPacket:  {needWrite, statusPacket, ofPaths, Symlink},
}

// announced makes of a server's VERSION the one that the client gets.
func announced(payload []byte, rights Rights) ([]byte, error) {
	f := fields{rest: payload}
	v := f.uint32()
	if f.bad {
		return nil, wire.Errorf(wire.Protocol, "the machine's SFTP server sent no version")
	}
	if v != version {
		return nil, wire.Errorf(wire.TargetRefused, "the machine's SFTP server speaks version %d; only %d passes", v, version)
	}
	var err error
	answer := appendPacket(nil, versionPacket, func(b []byte) []byte {
		b = append(b, 0, 0, 0, version)
		for len(f.rest) > 0 {
			name, data := f.string(), f.string()
			if f.bad {
				err = wire.Errorf(wire.Protocol, "the machine's SFTP server announced its extensions badly")
				break
			}
			if e, known := extensions[string(name)]; known && rights.missing(e.need) == "" {
				b = appendString(appendString(b, string(name)), string(data))
			}
		}
		return b
	})
	return answer, err
}
