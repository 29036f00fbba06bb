// Package wire is the vocabulary of Scrier: what crosses a network, and nothing else.
//
// # Frames
//
// Everything but a tunnel's raw bytes travels in frames shaped like HTTP/3's (RFC 9114, 7.1):
//
//	varint type | varint length | payload
//
// The varints are QUIC's (RFC 9000, 16). A frame of an unknown type below 0x40 is an error, one
// of an unknown type from 0x40 on is skipped: so later versions can add what may be ignored.
// Messages are CBOR (RFC 8949) with integer keys; unknown keys are ignored, and duplicate keys,
// tags, indefinite lengths and trailing bytes are refused. Lengths are checked before memory is
// taken: [MaxControl] for messages, [MaxData] for terminal bytes.
//
// # Links
//
// A [Link] is one authenticated connection between two roles, a [Stream] one conversation on it.
// The protocol version is the ALPN token ([ALPNAgent] and the others).
//
// Agent link. The agent opens the first stream, control, and keeps it:
//
//	agent -> Hello               relay -> Welcome
//	agent -> Heartbeat …         relay -> Ping … agent -> Pong
//	agent -> Renew               relay -> Renewed, agent -> Kept
//	                             relay -> Authenticated (the session's key is no longer needed)
//
// The relay opens one stream a session:
//
//	relay -> Open                agent -> Opened | Refused
//	then raw bytes both ways; FIN is EOF
//
// The relay may send the first raw bytes behind Open without waiting for Opened: SSH's version
// line then saves a round trip. After Refused the agent discards them.
//
// Client link. Each stream begins with one frame that says what it is:
//
//	Enrol -> Enrolled | Refused                           no certificate needed
//	Login -> Challenge, Proof -> Certified | Refused      no certificate needed
//	Call, then HTTP/1.1 as in RFC 9112                    the API
//	Connect -> Attached | Refused, then as a viewer       a new session
//	Connect -> Attached | Refused, then raw bytes         a new session of kind rdp or vnc
//	Attach -> Attached | Refused, then as a viewer        one that is open
//
// Viewer link. A WebTransport stream or a WebSocket of binary messages, which are one stream of
// bytes whatever their bounds; it begins with Attach. Browsers send no cookies with
// WebTransport: the ticket in Attach is what says who they are.
//
// Viewer. Framed for life, as WebSocket has no half-close:
//
//	viewer -> Data, Resize, EOF, Ack, Ping
//	relay  -> Data, Notice, Ack, Pong, Watchers, Resize (to watchers), Exit
//
// The CLI's FIN ends the session; a stream that breaks, and every end of a browser's, leaves it
// open for a while. Both directions are numbered by bytes. Output goes on where a returning viewer says it was; input
// goes on where Attached says that it arrived.
//
// A desktop's Data is a stream of Guacamole instructions (UTF-8, cut anywhere). Each attachment begins a
// stream of its own in both directions, at offset 0, with a whole picture: nothing is gone on with, and
// Resize, EOF and Attach.From mean nothing.
//
// Backpressure. Neither side is more than [ViewerWindow] ahead of what the other acknowledged;
// below that it is the transport's flow control. No queue of frames stands between two streams.
package wire

// ALPN tokens; they are the protocol's version.
const (
	ALPNAgent  = "scrier-agent/1"  // client certificate required, role agent
	ALPNClient = "scrier-client/1" // client certificate optional: without one only Login and Enrol
	ALPNH3     = "h3"              // browsers: no client certificate; the pages' own sign-in says who
)
