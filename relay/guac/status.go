package guac

import (
	"errors"
	"fmt"
	"strings"

	"scrier/wire"
)

// maxReason is how much of guacd's text is kept, in bytes.
const maxReason = 200

// A status of guacd's (libguac, protocol-types.h) as one of our codes. From 0x0200 on it is about
// guacd and the server behind it, from 0x0300 on about the viewer.
var statuses = map[int]struct {
	code wire.Code
	what string
}{
	0x0000: {wire.None, "the desktop ended"},
	0x0100: {wire.DesktopFailed, "guacd does not support what was asked of it"},
	0x0200: {wire.DesktopFailed, "guacd failed; its log says why"},
	0x0201: {wire.Busy, "guacd or the desktop server is busy"},
	0x0202: {wire.DesktopFailed, "the desktop server does not answer"},
	0x0203: {wire.DesktopFailed, "the desktop server reported an error"},
	0x0204: {wire.NotFound, "guacd has no such connection"},
	0x0205: {wire.Conflict, "it is in use already"},
	0x0206: {wire.DesktopFailed, "it was closed"},
	// guacd's VNC gives this one status for a closed port, a server that refuses, and a wrong
	// password; its RDP for a closed port and a server that breaks off. A caller who knows that the
	// server was reached can rule out the closed port.
	0x0207: {wire.TargetRefused, "the desktop server was not reached, or did not accept the password"},
	0x0208: {wire.DesktopFailed, "the desktop server refused the connection, or broke it off"},
	0x0209: {wire.None, "the desktop was opened from elsewhere"},
	0x020a: {wire.DesktopFailed, "the desktop server ended the session after it was idle"},
	0x020b: {wire.DesktopFailed, "the desktop server ended the session"},
	0x0300: {wire.Protocol, "guacd did not understand the request"},
	0x0301: {wire.DesktopLogin, "the user name or password is wrong"},
	0x0303: {wire.DesktopLogin, "the account may not log in there"},
	0x0308: {wire.ViewerLost, "the viewer did not answer in time"},
	0x030d: {wire.Protocol, "more was sent than guacd takes"},
	0x030f: {wire.Protocol, "something of a kind was sent that guacd does not take"},
	0x031d: {wire.Busy, "too much is open in guacd"},
}

// ErrLost is in what [Status] gives when guacd says no more than that it lost the desktop server, or did
// not reach it.
var ErrLost = errors.New("guacd lost the desktop server")

// lost is whether a status says no more than that. guacd tells a broken connection from one that the server
// ended in order by different ones in each version, and by none in some.
func lost(code int) bool {
	switch code {
	case 0x0202, 0x0203, 0x0206, 0x0207, 0x0208:
		return true
	}
	return false
}

// Status is a status of guacd's as one of our codes. message is guacd's text, which for RDP tells
// more than its number does. Its code is [wire.None] if the desktop ended in an orderly way, as
// when the user logged off, or logged in elsewhere.
func Status(code int, message string) *wire.Error {
	s, ok := statuses[code]
	if !ok {
		s.code, s.what = wire.DesktopFailed, "guacd reported an error"
	}
	switch text := strings.ToLower(message); {
	case code == 0x020b && strings.Contains(text, "logged off"):
		s.code, s.what = wire.None, "the user logged off"
	case code < 0x0200:
	case strings.Contains(text, "certificate"):
		// "SSL/TLS connection failed (untrusted/self-signed certificate?)", guacd < 1.4 with 519
		s.code, s.what = wire.CertificateMismatch, "the desktop server's certificate was not accepted, or TLS failed"
	case strings.Contains(text, "security") && code != 0x0207:
		// "Security negotiation failed (wrong security type?)" with 769, or with 515. With 519
		// there is "Server refused connection (wrong security type?)", also for a closed port.
		s.code, s.what = wire.DesktopSecurity, "the desktop server refused this kind of security"
	}
	var cause error
	if lost(code) && s.code == statuses[code].code {
		cause = ErrLost
	}
	detail := fmt.Sprintf("%s (guacd: %d", s.what, code)
	if message = strings.TrimSpace(message); message != "" {
		detail += ", " + wire.Printable(strings.ToValidUTF8(message[:min(len(message), maxReason)], ""))
	}
	return &wire.Error{Code: s.code, Detail: detail + ")", Err: cause}
}

// StatusOf is what an `error` instruction says, nil for all others.
func StatusOf(i *Instruction) *wire.Error {
	if !i.Is("error") {
		return nil
	}
	code, ok := between(i.Arg(1), 0, 0xffff)
	if !ok {
		code = 0x0200
	}
	return Status(code, string(i.Arg(0)))
}
