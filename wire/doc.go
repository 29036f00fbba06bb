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
// Over TCP a link is TLS 1.3 with the same ALPN tokens, and in it yamux's frames, with five kinds of ours between them. All
// have a header of 12 bytes, in network order: version (1 byte, 0), kind (1), flags (2), stream (4), value (4).
//
//	0x00 data      value bytes of the stream follow
//	0x01 window    value more bytes of the stream may be sent; flags: 1 it begins, 2 the peer has it, 4 no more bytes come
//	0x10 reset     value is the code; flags: 1 the sender sends no more, 2 it reads no more; window with flag 4 follows
//	0x11 streams   value more streams may be opened; 16 at first
//	0x12 room      value more bytes of all streams together may be sent; 1 MiB at first
//	0x13 alive     nothing; for who has said nothing for 15 s
//	0x14 close     value is the code, and as many bytes of detail follow as stream says, 512 at most; the last frame
//
// The dialling side's streams have odd numbers, each two more than the one before. yamux's pings, RST and GoAway are not used.
//
// Agent link. The agent opens the first stream, control, and keeps it:
//
//	agent -> Hello               relay -> Welcome
//	agent -> Heartbeat …         relay -> Ping … agent -> Pong, also when a rest that the agent has said is over
//	agent -> Renew               relay -> Renewed, agent -> Kept; instead of Hello if the certificate has expired
//	                             relay -> Authenticated (the session's key is no longer needed)
//	                             relay -> Spread (Welcome's word on that has changed)
//	agent -> Move                (a second link comes, over a better road; only if Welcome said Moves)
//
// It may open one more, if Welcome said Pongs:
//
//	agent -> Ping …              relay -> Pong, as large
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
//	Ping -> Pong, and again, and again                    whether the link lives
//	Connect -> Attached | Refused, then as a viewer       a new session
//	Connect -> Attached | Refused, then raw bytes         a new session of kind rdp or vnc
//	Connect -> Attached | Refused, then as a program      a new session of kind ssh, Channel.Plain
//	Attach -> Attached | Refused, then as a viewer        one that is open, or that is being opened
//
// Between relays, on a stream of whatever link it is (no relay serves it yet):
//
//	Join -> Joined | Refused                              no certificate needed; a relay becomes a member of a cluster
//
// Between members, on links with [ALPNPeer] (no relay makes one yet):
//
//	PeerOpen -> Opened | Refused, then raw bytes          a session's stream to an agent that the other relay has
//	PeerAuthenticated -> (end) | Refused                  as Authenticated to that agent
//	PeerAsk -> PeerAnswer | Refused                       whether an agent that has come here is still there
//
// Who pings does so every few seconds. If no Ping comes for a while the relay sends a Pong that nobody has asked for, which a
// machine answers on which the program has ended (ICMP).
//
// A session of kind ssh is one SSH connection with any number of channels, each on a stream of its own. Connect with Session
// opens one more; Connect.Channel says what follows behind Attached, see [ChannelKind]. The session ends with its last channel.
//
// Lane. A session's stream of either link may go on over a TLS connection of its own, see [Laned]: the agent or the CLI dials the
// relay's TCP port with [ALPNLane], with the token that Open or Connect has said:
//
//	Lane -> Lane | Refused, then pieces: each side's mark, and what follows of the stream
//
// A piece is its length (4 bytes, big endian) and so many bytes. Length 0 is the end, 0xffffffff says that the sender lives: a side
// that has written nothing for 20 s has said so.
//
// Gates. A stream whose two sides both know of gates (Open and Opened, or Connect and the optional Gates before Attached) goes on without a
// loss when its lane breaks. Behind each 128 KiB that it carries, counted from its first byte of a session (behind Open and Opened; at a
// client link from Connect and from Gates on), it has one byte, a gate, in each direction by itself:
//
//	0  the next 128 KiB follow here
//	1  they come over the lane; when that breaks, 8 bytes follow here: how many of the lane's bytes are before those that follow then,
//	   without gates, up to the end
//	2  as 0, and many of the sender's packets are lost: who can dial may dial a lane now
//
// Then there are no marks on the lane: its first byte is the one behind the gate. In place of a piece's length may also stand 0xfffffffe,
// with 8 bytes of how many bytes were read there (the end being one more) and 8 bytes of up to where more may be sent (262,144 at first); and
// 0xfffffffd, which asks for that. A side keeps what it has sent until it was read, and sends that again below when the lane has broken; the
// other one throws away what it has. A lane has broken when nothing is heard for 7 s while something is to be acknowledged. Numbers that
// cannot be true end the stream with protocol_error.
//
// Login. While a shell is being opened, its machine's SSH server may say and ask something. To the viewer that said
// Answers in Connect or Attach the relay sends that before Attached or Refused:
//
//	relay -> Said …, Ask          viewer -> Answer
//	                              viewer -> Ping; relay -> Pong
//
// A viewer that did not say Answers gets Refused (login_unanswered) if anything is asked, and is told nothing of what
// was said. So do those who are older than these messages.
//
// Viewer link. A WebTransport stream, or a WebSocket of binary messages. Where a WebSocket message
// begins and ends means nothing: all of them together are one stream of bytes. It begins with
// Attach. Browsers send no cookies with WebTransport, so it is the ticket in Attach that says who
// they are.
//
// Viewer. Framed for life, as WebSocket has no half-close:
//
//	viewer -> Data, Resize, EOF, Ack, Ping, Aside
//	relay  -> Data, Notice, Ack, Pong, Watchers, Skip, Resize (to watchers), Aside, Exit
//
// A page's lane. The output of a viewer that said Attach.Asides, so Data, Skip, Resize and Notice, may go over a WebSocket of its
// own for a while, see [Aside]. The lane begins with Attach, whose ticket is the one that Aside brought, and the relay does not
// answer that but with Refused.
//
// FIN from the CLI ends the session. A stream that breaks leaves the session open for a while, and
// so does every end of a browser's stream. The bytes of both directions are counted from the
// session's beginning. When a viewer comes back, output continues at the byte that Attach names, and
// input at the byte that Attached names.
//
// Program. What runs without a terminal has its bytes as they are:
//
//	terminal -> Data (standard input), EOF, Closed (no output is taken any more)
//	relay    -> Data (standard output), Errors (standard error), Exit
//
// Flow control is the transport's. The program is hung up when the stream ends before Exit, in whatever way.
//
// Numbered program. If Connect asks for it and Attached says so, the bytes of the three are counted from the program's beginning:
//
//	terminal -> Data, EOF, Closed, Ack (Offset: standard output, Errors: standard error)
//	relay    -> Data, Errors, Ack (Offset: standard input, Window), Exit
//
// Neither side sends more than [ProgramWindow] (standard error: [ErrorsWindow]) beyond the other's Ack, and both keep what is not
// acknowledged. The relay may keep less; it says how far input may be ahead (Attached.Window, Ack.Window), and the terminal reads
// the stream at all times. When the stream breaks, the same terminal (Client) comes back within the grace by Attach, with From and
// Errors; input goes on at Attached.Typed. EOF and Closed are said again then, and count once. The terminal ends the stream when it
// has Exit; until then the relay keeps Exit, and what stands before it, for the grace.
//
// The program is hung up at once when the terminal is gone: it ended the stream by FIN or by a reset with another code than
// internal, or the link, with any code but that. A link that ends without a word, a lane that breaks, and a reset with internal are the network's
// doing: the program goes on for the grace.
//
// Connection. What passes through a forward (DialTCP, DialUnix, Accept) is raw behind Attached: FIN is the end of one direction, and a
// reset that of both. If Connect says Numbered and Attached says so too it is frames instead, the same ones in both directions, as
// [Lasting] says: Data, EOF, Ack, Closed. When its stream breaks the same terminal comes back within the grace, by Connect with a
// channel of kind back that has Client and how much has come (Connect.Came); Attached.Typed is how much has come at the relay. A reset
// with another code than internal ends it for good. The machine's side of the connection sees nothing of all that.
//
// The Data of a desktop is a stream of Guacamole instructions (UTF-8, cut anywhere). Each attachment
// begins a new stream in both directions, at offset 0, with a whole picture. Nothing of an earlier
// attachment is continued, and Resize, EOF and Attach.From have no meaning.
//
// Backpressure. Neither side sends more than [ViewerWindow] beyond what the other has acknowledged.
// The transport's flow control works below that. There is no queue of frames between two streams.
package wire

// ALPN tokens; they are the protocol's version.
const (
	ALPNAgent  = "scrier-agent/1"  // client certificate required, role agent
	ALPNClient = "scrier-client/1" // client certificate optional: without one only Login and Enrol
	ALPNLane   = "scrier-lane/1"   // over TCP: the client certificate of the link whose stream is to go on there
	ALPNPeer   = "scrier-peer/1"   // over TCP: certificates of role member, of both sides
	ALPNH3     = "h3"              // browsers: no client certificate; the pages' own sign-in says who
)
