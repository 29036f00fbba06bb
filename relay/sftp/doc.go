// Package sftp is what passes between an SFTP client and a machine's SFTP server: version 3, as
// draft-ietf-secsh-filexfer-02 and OpenSSH's PROTOCOL describe it. [Pass] joins two raw byte streams. It lets through
// what the session's rights allow, answers the rest itself, and tells of each file that was transferred and of each
// change. It opens no file and no connection.
//
// A packet is uint32 length, byte type, payload; the length counts the type. A string is uint32 length, bytes.
//
//	INIT      uint32 version                         the version is always 3, both ways
//	VERSION   uint32 version, {string name, string data} …; unknown extensions are left out
//	request   uint32 id, fields
//	WRITE     uint32 id, string handle, uint64 offset, string data
//	answer    uint32 id of its request, fields; STATUS, or the one type that belongs to the request
//
// What counts:
//   - The payload of WRITE and DATA, the bulk, passes piece by piece as it comes. It is hashed on the way, and never
//     copied, unless it comes in another order than the file's.
//   - Other requests are looked at whole, and so they are at most [maxRequest] bytes long. Answers are not held.
//   - A request passes with the rights that it needs, see [Rights]. Otherwise it is answered here, with
//     PERMISSION_DENIED, behind all answers to the requests before it.
//   - Extensions that are not in the table of extension.go are answered with OP_UNSUPPORTED, as by a server that does not
//     know them.
//   - Whoever breaks the protocol ends it: a length that is too large, an answer that nobody asked for, a second
//     request with an id that is not answered yet. Requests and handles are bounded; a client that is too fast waits.
package sftp
