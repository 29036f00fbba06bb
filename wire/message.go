package wire

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
)

// Message is one CBOR message; the frame type is part of its meaning.
type Message interface{ frame() FrameType }

// Hello is the agent's first message. Who the agent is comes from its certificate, never from a field.
type Hello struct {
	Boot  string `cbor:"1,keyasint"` // kernel boot id, for the audit log
	Time  int64  `cbor:"2,keyasint"` // the agent's clock, Unix milliseconds
	Facts Facts  `cbor:"3,keyasint"`
	// Move is the ID of a [Move] that the agent has said on a link that it has already: this one is beside that one. Empty:
	// the agent has no other link.
	Move []byte `cbor:"4,keyasint,omitempty"`
	Why  string `cbor:"5,keyasint,omitempty"` // why the link is over the road that it is over; empty: because it is the best
	Rest uint32 `cbor:"6,keyasint,omitempty"` // as in [Heartbeat], up to the first one
}

// Welcome admits an agent.
type Welcome struct {
	Relay    string `cbor:"1,keyasint"` // name, for logs
	Time     int64  `cbor:"2,keyasint"` // the relay's clock, Unix milliseconds
	Interval uint32 `cbor:"3,keyasint"` // seconds between heartbeats
	Spread   uint32 `cbor:"4,keyasint"` // as in [Spread]; 0: not told
	Moves    bool   `cbor:"5,keyasint"` // the relay understands [Move]
	Pongs    bool   `cbor:"6,keyasint"` // it answers the pings that an agent sends on a stream of its own; there is one at a time
	Rests    bool   `cbor:"7,keyasint"` // it understands Heartbeat.Rest
}

// Spread tells an agent over how many milliseconds the fleet is to come back once the relay was gone: it waits for a
// random part of them. The relay's last word counts. An agent takes no more than [MaxSpread].
type Spread struct {
	Millis uint32 `cbor:"1,keyasint"`
}

// MaxSpread is how long a relay may have its agents spread their return.
const MaxSpread = time.Minute

// Move says that the agent is about to make one more link, whose Hello has this ID. New sessions are opened there; those
// that are open stay where they are until they end, and then the agent ends the link that it said this on. Only the agent at
// the other end of a link can say something on it: so a copy of the machine's certificate gets no second link.
type Move struct {
	ID   []byte `cbor:"1,keyasint"` // MoveSize random bytes
	Over bool   `cbor:"2,keyasint"` // the link whose Hello had this ID has ended at the agent; sessions are opened here again
}

// MoveSize is how many bytes [Move]'s ID has.
const MoveSize = 16

// Heartbeat tells how the machine is.
type Heartbeat struct {
	Time  int64 `cbor:"1,keyasint"` // Unix milliseconds
	Facts Facts `cbor:"2,keyasint"`
	// Rest is how many seconds the agent may say nothing, from [MinRest] to [MaxRest]. When it has said nothing for as long, a relay
	// that has said Welcome.Rests asks it, by [Ping]: so the agent learns whether what comes unasked after such a silence still finds
	// it, behind a NAT that forgets. 0: it is not at rest, and says something every Welcome.Interval.
	Rest uint32 `cbor:"3,keyasint,omitempty"`
}

// How long an agent's rest may be.
const (
	MinRest = 5 * time.Second
	MaxRest = time.Minute
)

// Facts is what an agent knows of its machine. All of it is untrusted: [Facts.Bounded] cuts it.
type Facts struct {
	Hostname  string   `cbor:"1,keyasint" json:"hostname"`
	OS        string   `cbor:"2,keyasint" json:"os"` // e.g. "Debian GNU/Linux 12 (bookworm)"
	Arch      string   `cbor:"3,keyasint" json:"arch"`
	Version   string   `cbor:"4,keyasint" json:"version"` // of the agent
	Uptime    uint64   `cbor:"5,keyasint" json:"uptime"`  // seconds
	Load      uint32   `cbor:"6,keyasint" json:"load"`    // one minute, in hundredths
	Disk      uint8    `cbor:"7,keyasint" json:"disk"`    // root file system used, percent
	Users     []string `cbor:"8,keyasint" json:"users"`   // logged in now
	SSH       bool     `cbor:"9,keyasint" json:"ssh"`     // the SSH server answers
	SSHServer string   `cbor:"10,keyasint" json:"ssh_server,omitempty"`
	Offset    int64    `cbor:"11,keyasint" json:"clock_offset_ms"` // the relay's clock minus this machine's, ms
	RDP       bool     `cbor:"12,keyasint" json:"rdp"`             // something that may be trusted listens at RDP's port
	VNC       bool     `cbor:"13,keyasint" json:"vnc"`             // the same for VNC
	Console   string   `cbor:"14,keyasint" json:"console"`         // who sits at the screen; empty: nobody, or it is not shared
}

// Bounded returns f with every string and list cut to what a relay stores.
func (f Facts) Bounded() Facts {
	f.Console = cutString(f.Console, 64)
	for _, s := range []*string{&f.Hostname, &f.OS, &f.Arch, &f.Version, &f.SSHServer} {
		*s = cutString(*s, 128)
	}
	if len(f.Users) > 32 {
		f.Users = f.Users[:32]
	}
	users := make([]string, len(f.Users))
	for i, u := range f.Users {
		users[i] = cutString(u, 64)
	}
	f.Users, f.Disk = users, min(f.Disk, 100)
	return f
}

// cutString shortens s to at most n bytes of valid UTF-8. The mark for what is not valid has one
// byte, so that it never makes a string longer.
func cutString(s string, n int) string {
	return strings.ToValidUTF8(s[:min(len(s), n)], "?")
}

// Ping asks the peer, not only its QUIC stack, whether it is alive.
type Ping struct {
	N   uint64 `cbor:"1,keyasint"`
	Pad []byte `cbor:"2,keyasint,omitempty"` // makes it larger, and its answer; at most [MaxPad] bytes count
}

// Pong answers the Ping with the same number.
type Pong struct {
	N   uint64 `cbor:"1,keyasint"`
	Pad []byte `cbor:"2,keyasint,omitempty"`
}

// MaxPad is how much larger an answer is made at most, in bytes: it is more than a packet carries.
const MaxPad = 1600

// Renew asks for a new certificate over the living link.
type Renew struct {
	CSR []byte `cbor:"1,keyasint"` // PKCS #10, DER; only its public key and signature count
}

// Renewed is the answer.
type Renewed struct {
	Chain [][]byte `cbor:"1,keyasint"` // DER, leaf first
}

// Kept says that the agent has saved the renewed certificate: those before it count no more.
type Kept struct{}

// Authenticated tells the agent that SSH authentication is over, well or not, so that the
// session's key can go.
type Authenticated struct {
	Session SessionID `cbor:"1,keyasint"`
}

// Kind is what a session is for.
type Kind string

// The kinds that exist so far; a port belongs to each.
const (
	KindSSH Kind = "ssh"
	KindRDP Kind = "rdp"
	KindVNC Kind = "vnc"
)

// Open asks an agent for a tunnel. There is no host in it: the target is always the envoy's own
// loopback, and for ssh the address in its agent.yaml.
type Open struct {
	Session   SessionID `cbor:"1,keyasint"`
	Kind      Kind      `cbor:"2,keyasint"`
	Port      uint16    `cbor:"3,keyasint"` // 0 for ssh: the agent knows
	Login     string    `cbor:"4,keyasint"` // empty: the one that holds a key of the operator's
	Keys      [][]byte  `cbor:"5,keyasint"` // the operator's public keys, SSH wire format
	Ephemeral []byte    `cbor:"6,keyasint"` // the session's public key, SSH wire format; KeyTypeRefused asks for one of another type
	Operator  string    `cbor:"7,keyasint"` // name, for the machine's own log
	Timeout   uint32    `cbor:"8,keyasint"` // milliseconds that the relay waits; a duration, as clocks differ
	// 9 is kept for the operator's proof, 10 for its policy.
	Console  *Console `cbor:"11,keyasint"` // kind vnc: the screen of who sits at the machine; Port does not count then
	Security Security `cbor:"12,keyasint"` // kind rdp: what is accepted
	// Source is the operator's IP address as the relay sees it, for from= in authorized_keys. Empty: the
	// relay does not say, as those before it did not.
	Source string `cbor:"13,keyasint"`
	// Needs is what the session is for: the agent refuses what its machine does not allow (channel_not_allowed) or the matched
	// line of authorized_keys does not (key_restricted). Likes is left out where it is not allowed. Both empty: a shell in a
	// terminal, or any command, as relays before these fields meant.
	Needs []Right `cbor:"14,keyasint"`
	Likes []Right `cbor:"15,keyasint"`
	// Lane is a token for one lane of this stream, [LaneToken] bytes; empty: it cannot have one.
	Lane []byte `cbor:"16,keyasint"`
	// Gates says that the relay's side of this stream has gates, if the agent says so too: see [Laned.Gates].
	Gates bool `cbor:"17,keyasint"`
}

// Console asks for the screen of who sits at the machine, who may say no.
type Console struct {
	View    bool   `cbor:"1,keyasint"` // look only; else the operator wants to type and point too
	Purpose string `cbor:"2,keyasint"` // shown to who is asked; at most MaxPurpose bytes of printable text
}

// MaxPurpose is how long a [Console]'s purpose may be, in bytes.
const MaxPurpose = 200

// Security is how an RDP connection is protected, in guacd's words.
type Security string

// The kinds of security. RDP's own, without TLS, is not among them.
const (
	AnySecurity Security = "any" // what the server prefers of the others; empty means it too
	NLA         Security = "nla" // TLS, and the password is proven before there is a picture (CredSSP)
	TLS         Security = "tls"
)

// Opened admits the session; raw bytes follow.
type Opened struct {
	Login    string   `cbor:"1,keyasint"`
	HostKeys [][]byte `cbor:"2,keyasint"` // SSH wire format: the only ones the relay accepts
	// Of a desktop; Login is then who sits at the screen, or empty.
	Security    Security `cbor:"3,keyasint"` // kind rdp: what the server chose, NLA or TLS
	Certificate []byte   `cbor:"4,keyasint"` // kind rdp: SHA-256 of the server's certificate (DER)
	View        bool     `cbor:"5,keyasint"` // console: look only, as the machine's policy or its user wants
	// Rights is what the session may be used for: Open.Needs, and of Open.Likes what is allowed. Empty: the agent is older
	// than these, and the session is for a shell in a terminal or for commands.
	Rights []Right `cbor:"6,keyasint"`
	Gates  bool    `cbor:"7,keyasint"` // what follows has gates: Open offered them, with a lane
}

// Refused is the answer no.
type Refused struct {
	Code   Code   `cbor:"1,keyasint"`
	Detail string `cbor:"2,keyasint"`
	Hint   string `cbor:"3,keyasint,omitempty"` // where that of the code does not fit; a relay passes on none of an agent's
}

// Refuse makes the answer for err; only a detail that was meant for a peer goes into it.
func Refuse(err error) *Refused {
	r := &Refused{Code: CodeOf(err), Detail: cutString(DetailOf(err), maxWords)}
	if e, ok := errors.AsType[*Error](err); ok {
		r.Hint = cutString(e.Advice, maxWords)
	}
	return r
}

// maxWords bounds what a peer says about an error, in bytes.
const maxWords = 1024

// Err is the refusal as an error. Its detail and its hint, the peer's words, are one line each that can be shown.
func (r *Refused) Err() error {
	return &Error{Code: r.Code, Detail: Printable(cutString(r.Detail, maxWords)), Advice: Printable(cutString(r.Hint, maxWords))}
}

// Size is a terminal's, in characters.
type Size struct {
	Cols uint16 `cbor:"1,keyasint"`
	Rows uint16 `cbor:"2,keyasint"`
}

// Clamp bounds a size to 1–1000 each way.
func (s Size) Clamp() Size {
	return Size{Cols: min(max(s.Cols, 1), 1000), Rows: min(max(s.Rows, 1), 1000)}
}

// Connect asks the relay for a session and attaches to it on the same stream.
type Connect struct {
	Envoy string            `cbor:"1,keyasint"` // hostname, id, or a unique prefix of one
	Kind  Kind              `cbor:"2,keyasint"`
	Port  uint16            `cbor:"3,keyasint"`
	Login string            `cbor:"4,keyasint"`
	Size  Size              `cbor:"5,keyasint"`
	Term  string            `cbor:"6,keyasint"`
	Env   map[string]string `cbor:"7,keyasint"` // LANG and LC_* only
	Key   []byte            `cbor:"8,keyasint"` // only this key of the operator's counts; SSH wire format
	Proof []byte            `cbor:"9,keyasint"` // SSHSIG by Key, see certs.NamespaceKey
	// Kinds rdp and vnc give a CLI the desktop server's own bytes, for a native viewer.
	Console *Console `cbor:"10,keyasint"`
	Skip    bool     `cbor:"11,keyasint"` // kind ssh: the viewer understands [Skip], and wants it
	Prompt  bool     `cbor:"12,keyasint"` // kind ssh: as in Attach
	Modes   []byte   `cbor:"13,keyasint"` // kind ssh: the terminal's modes (RFC 4254, 8), at most 1 KiB; empty: the usual
	Client  []byte   `cbor:"14,keyasint"` // kind ssh: as in Attach; none: this viewer does not come back
	Answers bool     `cbor:"15,keyasint"` // kind ssh: as in Attach
	Paint   bool     `cbor:"16,keyasint"` // kind ssh: as in Attach
	Channel *Channel `cbor:"17,keyasint"` // kind ssh: what is opened there; nil: the login's shell in a terminal
	// Session is an open session of the operator's own, on which the channel is one more; zero: a new one. Envoy, Kind, Port,
	// Login, Key and Proof have no meaning then.
	Session SessionID `cbor:"18,keyasint"`
	Share   bool      `cbor:"19,keyasint"` // kind ssh: one that is open already will do, if it is the operator's own, to the same login, with the same keys
	Likes   []Right   `cbor:"20,keyasint"` // kind ssh: what further channels may need; what is not allowed is left out
	Needs   []Right   `cbor:"21,keyasint"` // kind ssh: the same; what is not allowed is an error
	Lane    []byte    `cbor:"22,keyasint"` // [LaneToken] random bytes for one lane of this stream; empty: it will have none
	Gates   bool      `cbor:"23,keyasint"` // with Lane: the CLI understands [Gates]
	// Numbered asks for a program without a terminal, or a connection ([DialTCP], [DialUnix], [Accept]), that outlives its stream: see the
	// package's words on programs, and [Lasting]. It needs Client.
	Numbered bool `cbor:"25,keyasint,omitempty"`
	// Came is what has come of a connection, when its viewer comes back with [Back]: bytes, the end being one more.
	Came uint64 `cbor:"26,keyasint,omitempty"`
}

// Gates says, before Attached, to a CLI that has said it understands it: this stream has gates at the relay's side, see [Laned.Gates],
// and a lane can be had from now on.
type Gates struct {
	Lossy bool `cbor:"1,keyasint"` // much of what the relay sends on this link is lost
}

// Attach joins a session that is open already.
type Attach struct {
	Ticket []byte  `cbor:"1,keyasint"` // 32 bytes, used once
	From   *uint64 `cbor:"2,keyasint"` // go on at this byte of the output; nil: all that is kept
	Size   Size    `cbor:"3,keyasint"`
	Client []byte  `cbor:"4,keyasint"` // 16 random bytes, the same when this viewer comes back
	Skip   bool    `cbor:"5,keyasint"` // the viewer understands [Skip], and wants it
	Prompt bool    `cbor:"6,keyasint"` // the viewer acknowledges what is on its screen within 10 ms, see [Ack]
	Paint  bool    `cbor:"7,keyasint"` // the viewer understands [Skip], also if it wants to see all output
	// Answers says that the viewer shows [Said] and answers [Ask]. Without it none of them comes.
	Answers bool `cbor:"8,keyasint"`
	Back    bool `cbor:"9,keyasint"`  // it comes back by itself: who has taken the session over keeps it
	Anew    bool `cbor:"10,keyasint"` // something was written over its screen: it is painted behind what is missing
	Asides  bool `cbor:"11,keyasint"` // the viewer understands [Aside], and opens one when it is offered
	// Errors is From for the standard error of a numbered program, which has numbers of its own.
	Errors *uint64 `cbor:"13,keyasint,omitempty"`
}

// Attached says that the viewer's bytes flow from here on.
type Attached struct {
	Session  SessionID `cbor:"1,keyasint"`
	Envoy    string    `cbor:"2,keyasint"` // hostname
	Login    string    `cbor:"3,keyasint"`
	Offset   uint64    `cbor:"4,keyasint"` // of the first byte that follows; more than Attach.From: what lies between is lost
	Head     uint64    `cbor:"5,keyasint"` // of the next byte that the session will produce; up to it, output is history
	Typed    uint64    `cbor:"6,keyasint"` // how much input of this very viewer was taken before: it goes on behind it
	Window   uint32    `cbor:"7,keyasint"` // how far input may be ahead of its Ack
	Watching bool      `cbor:"8,keyasint"` // read-only: input is refused
	Size     Size      `cbor:"9,keyasint"` // the terminal's; a watcher follows it, by Resize
	EnvoyID  EnvoyID   `cbor:"10,keyasint"`
	Kind     Kind      `cbor:"11,keyasint"`
	Desktop  *Desktop  `cbor:"12,keyasint"` // kinds rdp and vnc in a browser; nil for a CLI
	Grace    uint32    `cbor:"13,keyasint"` // seconds that the session waits for a viewer whose connection broke; 0: not told
	Channel  bool      `cbor:"14,keyasint"` // the relay understands Connect.Channel: what runs is what that said
	Part     uint32    `cbor:"15,keyasint"` // the channel's number in its session, from 1; 0: the relay is older than these
	Rights   []Right   `cbor:"16,keyasint"` // kind ssh: what the session may be used for
	Port     uint16    `cbor:"17,keyasint"` // [ListenTCP]: the port that the machine listens at
	Shared   bool      `cbor:"18,keyasint"` // it is a session that was open before
	// Numbered says that a program, or a connection, is what Connect.Numbered has asked for. Errors is Offset for its standard error. Of a
	// connection Typed counts the end as one byte more, and nothing is said in Offset.
	Numbered bool   `cbor:"20,keyasint,omitempty"`
	Errors   uint64 `cbor:"21,keyasint,omitempty"`
}

// Said is text of the machine's SSH server from before there is a shell: its banner, and what PAM says. It
// comes in lines that [Lines] has cleaned, and a viewer shows it as the machine's own words. The first
// one on a stream may be empty: the session is being opened.
type Said struct {
	Envoy string `cbor:"1,keyasint"` // hostname
	Login string `cbor:"2,keyasint"`
	Text  string `cbor:"3,keyasint"`
}

// Ask is what the machine's SSH server wants to know of the person before it lets them in. The viewer says
// who asks, and gives one Answer; meanwhile nothing else follows but Refused or Exit.
type Ask struct {
	ID        uint32     `cbor:"1,keyasint"` // of this Ask in its session, from 1
	Envoy     string     `cbor:"2,keyasint"` // hostname
	Login     string     `cbor:"3,keyasint"`
	Text      string     `cbor:"4,keyasint"` // what it says before it asks, as in Said
	Questions []Question `cbor:"5,keyasint"` // at least one, at most MaxQuestions
	Password  bool       `cbor:"6,keyasint"` // the one question is for the login's password, and its text is empty
	Again     bool       `cbor:"7,keyasint"` // what was answered before was not accepted
}

// Question is one of an [Ask].
type Question struct {
	Text string `cbor:"1,keyasint"` // as in Said; it may have several lines
	Echo bool   `cbor:"2,keyasint"` // the answer may be seen while it is typed
}

// Answer answers an [Ask]. It is in no log and no record, whatever prints it.
type Answer struct {
	ID     uint32   `cbor:"1,keyasint"` // of the Ask; 0 with Cancel alone
	Texts  [][]byte `cbor:"2,keyasint"` // UTF-8, one a question, at most MaxAnswer bytes each
	Cancel bool     `cbor:"3,keyasint"` // the person gives up
}

// Format prints the same for every verb.
func (a *Answer) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// Wipe overwrites the texts.
func (a *Answer) Wipe() {
	for _, t := range a.Texts {
		clear(t)
	}
	a.Texts = nil
}

// Bounds of an [Ask] and its [Answer].
const (
	MaxQuestions = 32
	MaxAnswer    = 1 << 10 // bytes
)

// Desktop is what a viewer of a desktop may do there.
type Desktop struct {
	ToEnvoy   bool `cbor:"1,keyasint"` // the viewer's clipboard may be sent
	FromEnvoy bool `cbor:"2,keyasint"` // the desktop's clipboard comes
	Upload    bool `cbor:"3,keyasint"` // files may be put on the drive
	Download  bool `cbor:"4,keyasint"` // files may be taken from it
	Audio     bool `cbor:"5,keyasint"`
	View      bool `cbor:"6,keyasint"` // no key and no pointer is taken
	Console   bool `cbor:"7,keyasint"` // it is the screen of who sits there
}

// Ack says how much has arrived at its destination: of the output, on the viewer's screen; of the
// input, at the shell. The relay sends output at most [ViewerWindow] beyond the last Ack, and keeps
// what was not acknowledged for a viewer that comes back.
// To a viewer that is prompt the relay sends no more than its way carries in the round trip and a moment
// longer, so that little lies in front of an echo.
//
// Of a numbered program the viewer also says how much of standard error has arrived, and the relay how far input may be ahead
// from now on. That never becomes less.
type Ack struct {
	Offset uint64 `cbor:"1,keyasint"`
	Frames uint64 `cbor:"2,keyasint,omitempty"` // how many have come whole over the [Aside] that carries output now
	Window uint32 `cbor:"3,keyasint,omitempty"`
	Errors uint64 `cbor:"4,keyasint,omitempty"`
}

// Aside is a lane of a page's: a WebSocket that carries output instead of the viewer's own stream, on which all else stays. At
// most one is there at a time, and they are numbered. It comes only to a viewer that said Attach.Asides.
//
//	relay -> N, Ticket   the viewer may open it, once, within 10 s: Attach with this ticket is its first frame
//	relay -> N, Used     behind this no output comes on the stream; it comes on the lane
//	relay -> N, Over     nothing more comes on the lane, or it seems broken: the viewer closes it, and answers
//	viewer -> N, Over    it is closed, or was never open, and Frames came whole; what the relay has sent beyond them it sends
//	                     again on the stream, and goes on there
//
// The viewer also says Over by itself when the lane breaks. On the lane the relay sends Data, Skip, Resize and Notice, and the
// viewer Ping, which nobody answers, at least every minute.
type Aside struct {
	N      uint32 `cbor:"1,keyasint"`
	Ticket []byte `cbor:"2,keyasint,omitempty"`
	Used   bool   `cbor:"3,keyasint,omitempty"`
	Over   bool   `cbor:"4,keyasint,omitempty"`
	Frames uint64 `cbor:"5,keyasint,omitempty"`
}

// What a numbered program may be ahead of its [Ack] at most, in bytes: with standard input and output, and with standard error.
const (
	ProgramWindow = 4 << 20
	ErrorsWindow  = 256 << 10
)

// ViewerWindow is how far output or input may be ahead of its [Ack], in bytes. A viewer says Ack
// after half of it at the latest.
const ViewerWindow = 256 << 10

// Watchers tells the viewer of a session who else sees it now.
type Watchers struct {
	Names []string `cbor:"1,keyasint"`
}

// Data is terminal bytes, or a piece of a desktop's Guacamole instructions, cut anywhere. Its payload is not CBOR.
type Data struct{ Bytes []byte }

// Skip paints the screen. It leaves out output that its owner no longer wants to see, as a terminal's driver does
// when Ctrl-C is typed; it comes before history of which the begin is not kept, and behind history from before the
// terminal had its size. It comes only to a viewer that asked for it (Attach.Skip, Attach.Paint).
type Skip struct {
	// Screen is terminal bytes. They make the viewer's terminal equal to one that was given all of the
	// output up to To, whatever it shows now. They have no numbers: no offset counts them.
	Screen []byte `cbor:"1,keyasint"`
	// To is the number of the next byte of output; until More is false, nothing but Skip follows.
	To   uint64 `cbor:"2,keyasint"`
	More bool   `cbor:"3,keyasint"` // another Skip follows, with the rest of Screen
}

// MaxSkip is how many bytes of Screen one [Skip] holds.
const MaxSkip = MaxData

// Resize is the viewer's new size.
type Resize struct {
	Size Size `cbor:"1,keyasint"`
}

// EOF says that the viewer has no more input.
type EOF struct{}

// Errors is what a program without a terminal writes to standard error. Its payload is not CBOR.
type Errors struct{ Bytes []byte }

// Closed says that nobody takes the output of a program without a terminal any more: it is to learn that, as
// from a broken pipe, when it writes. What still comes is thrown away up to Exit.
type Closed struct{}

// Notice is a line for the person, shown outside the terminal's stream where that is possible.
type Notice struct {
	Code Code   `cbor:"1,keyasint"`
	Text string `cbor:"2,keyasint"`
}

// Exit ends a session for its viewer.
type Exit struct {
	Code   Code   `cbor:"1,keyasint"` // None: the shell ended by itself
	Detail string `cbor:"2,keyasint"`
	Status uint32 `cbor:"3,keyasint"` // the shell's exit status
	Signal string `cbor:"4,keyasint"` // or the signal that ended it, without SIG
}

// ExitOf is how an error ends a session; nil is an orderly end.
func ExitOf(err error) *Exit { return &Exit{Code: CodeOf(err), Detail: DetailOf(err)} }

// Enrol asks for an identity and uses up a token.
type Enrol struct {
	Secret []byte            `cbor:"1,keyasint"` // the token's secret half
	CSR    []byte            `cbor:"2,keyasint"`
	Facts  Facts             `cbor:"3,keyasint"`
	Labels map[string]string `cbor:"4,keyasint"`
	Time   int64             `cbor:"5,keyasint"` // the agent's clock, Unix milliseconds
}

// Enrolled is the new identity.
type Enrolled struct {
	Envoy   EnvoyID  `cbor:"1,keyasint"`
	Cluster string   `cbor:"2,keyasint"`
	Chain   [][]byte `cbor:"3,keyasint"` // DER, leaf first, the CA last
	Time    int64    `cbor:"4,keyasint"` // the relay's clock, Unix milliseconds
}

// Join asks for a place in a cluster of relays, and uses up a token. It may be said again, to any member, when the answer was
// lost: with the same key and the same recipient the answer is the same.
type Join struct {
	Secret    []byte `cbor:"1,keyasint"` // the token's secret half
	Name      string `cbor:"2,keyasint"` // the member's, as it is to be called
	CSR       []byte `cbor:"3,keyasint"` // PKCS #10, DER; only its public key and signature count
	Recipient string `cbor:"4,keyasint"` // age, X25519: for whom the CA's key is to be sealed
	Peer      string `cbor:"5,keyasint"` // HOST:PORT at which the other members reach it
	Version   string `cbor:"6,keyasint"` // of the program
	Time      int64  `cbor:"7,keyasint"` // the relay's clock, Unix milliseconds
}

// Joined is the place. What is in it is checked against the token's pin, and nothing of it is believed without.
type Joined struct {
	Cluster string          `cbor:"1,keyasint"`
	Chain   [][]byte        `cbor:"2,keyasint"` // DER, leaf first, the CA last
	Members []ClusterMember `cbor:"3,keyasint"` // all, the new one too
	Number  uint64          `cbor:"4,keyasint"` // of the new one in etcd; 0: etcd is outside
	Sealed  []byte          `cbor:"5,keyasint"` // the CA's key, sealed for the members; empty: it stays with one of them
	Time    int64           `cbor:"6,keyasint"` // the member's clock, Unix milliseconds
}

// ClusterMember is a relay of a cluster as the others know it.
type ClusterMember struct {
	Name      string `cbor:"1,keyasint"`
	Key       []byte `cbor:"2,keyasint"` // SHA-256 of its certificate's public key
	Recipient string `cbor:"3,keyasint"`
	Peer      string `cbor:"4,keyasint"`
	Number    uint64 `cbor:"5,keyasint"`
	Vouch     []byte `cbor:"6,keyasint"` // the CA's signature over all but Peer and Number
}

// Login begins a login: it lists the keys with which the operator could prove who they are.
type Login struct {
	Username string   `cbor:"1,keyasint"` // empty: whoever the key belongs to
	Keys     [][]byte `cbor:"2,keyasint"` // SSH wire format, at most 64
}

// Challenge names the key to use and what makes the proof fresh.
type Challenge struct {
	Cluster string `cbor:"1,keyasint"`
	Key     []byte `cbor:"2,keyasint"`
	Nonce   []byte `cbor:"3,keyasint"` // 32 bytes, good for 60 s and this connection
	// Claim is the operator for whom the key is registered, if nobody has proved yet that it is theirs.
	Claim string `cbor:"4,keyasint"`
}

// Proof answers the Challenge, see certs.LoginMessage.
type Proof struct {
	Signature []byte `cbor:"1,keyasint"` // SSHSIG
	CSR       []byte `cbor:"2,keyasint"`
	Claim     []byte `cbor:"3,keyasint"` // SSHSIG: that the key is to count for Challenge.Claim, see certs.ClaimText
}

// Certified is the operator's certificate.
type Certified struct {
	Chain    [][]byte `cbor:"1,keyasint"` // DER, leaf first
	Username string   `cbor:"2,keyasint"`
	Role     string   `cbor:"3,keyasint"`
	Time     int64    `cbor:"4,keyasint"` // the relay's clock, Unix milliseconds
}

// Call says that HTTP/1.1 follows on the stream.
type Call struct{}

// Millis is t for a message.
func Millis(t time.Time) int64 { return t.UnixMilli() }

func (*Hello) frame() FrameType         { return frameHello }
func (*Welcome) frame() FrameType       { return frameWelcome }
func (*Heartbeat) frame() FrameType     { return frameHeartbeat }
func (*Ping) frame() FrameType          { return framePing }
func (*Pong) frame() FrameType          { return framePong }
func (*Renew) frame() FrameType         { return frameRenew }
func (*Renewed) frame() FrameType       { return frameRenewed }
func (*Kept) frame() FrameType          { return frameKept }
func (*Authenticated) frame() FrameType { return frameAuthenticated }
func (*Spread) frame() FrameType        { return frameSpread }
func (*Move) frame() FrameType          { return frameMove }
func (*Open) frame() FrameType          { return frameOpen }
func (*Opened) frame() FrameType        { return frameOpened }
func (*Refused) frame() FrameType       { return frameRefused }
func (*Connect) frame() FrameType       { return frameConnect }
func (*Attached) frame() FrameType      { return frameAttached }
func (*Data) frame() FrameType          { return frameData }
func (*Errors) frame() FrameType        { return frameErrors }
func (*Resize) frame() FrameType        { return frameResize }
func (*EOF) frame() FrameType           { return frameEOF }
func (*Closed) frame() FrameType        { return frameClosed }
func (*Notice) frame() FrameType        { return frameNotice }
func (*Exit) frame() FrameType          { return frameExit }
func (*Attach) frame() FrameType        { return frameAttach }
func (*Ack) frame() FrameType           { return frameAck }
func (*Watchers) frame() FrameType      { return frameWatchers }
func (*Skip) frame() FrameType          { return frameSkip }
func (*Said) frame() FrameType          { return frameSaid }
func (*Ask) frame() FrameType           { return frameAsk }
func (*Answer) frame() FrameType        { return frameAnswer }
func (*Enrol) frame() FrameType         { return frameEnrol }
func (*Enrolled) frame() FrameType      { return frameEnrolled }
func (*Login) frame() FrameType         { return frameLogin }
func (*Challenge) frame() FrameType     { return frameChallenge }
func (*Proof) frame() FrameType         { return frameProof }
func (*Certified) frame() FrameType     { return frameCertified }
func (*Call) frame() FrameType          { return frameCall }
func (*Arrived) frame() FrameType       { return frameArrived }
func (*Lane) frame() FrameType          { return frameLane }
func (*Aside) frame() FrameType         { return frameAside }
func (*Gates) frame() FrameType         { return frameGates }
func (*Join) frame() FrameType          { return frameJoin }
func (*Joined) frame() FrameType        { return frameJoined }

// newMessage is the table from frame to message.
func newMessage(t FrameType) Message {
	switch t {
	case frameHello:
		return new(Hello)
	case frameWelcome:
		return new(Welcome)
	case frameHeartbeat:
		return new(Heartbeat)
	case framePing:
		return new(Ping)
	case framePong:
		return new(Pong)
	case frameRenew:
		return new(Renew)
	case frameRenewed:
		return new(Renewed)
	case frameKept:
		return new(Kept)
	case frameAuthenticated:
		return new(Authenticated)
	case frameSpread:
		return new(Spread)
	case frameMove:
		return new(Move)
	case frameOpen:
		return new(Open)
	case frameOpened:
		return new(Opened)
	case frameRefused:
		return new(Refused)
	case frameConnect:
		return new(Connect)
	case frameAttached:
		return new(Attached)
	case frameData:
		return new(Data)
	case frameResize:
		return new(Resize)
	case frameEOF:
		return new(EOF)
	case frameClosed:
		return new(Closed)
	case frameErrors:
		return new(Errors)
	case frameNotice:
		return new(Notice)
	case frameExit:
		return new(Exit)
	case frameAttach:
		return new(Attach)
	case frameAck:
		return new(Ack)
	case frameWatchers:
		return new(Watchers)
	case frameSkip:
		return new(Skip)
	case frameSaid:
		return new(Said)
	case frameAsk:
		return new(Ask)
	case frameAnswer:
		return new(Answer)
	case frameEnrol:
		return new(Enrol)
	case frameEnrolled:
		return new(Enrolled)
	case frameLogin:
		return new(Login)
	case frameChallenge:
		return new(Challenge)
	case frameProof:
		return new(Proof)
	case frameCertified:
		return new(Certified)
	case frameCall:
		return new(Call)
	case frameArrived:
		return new(Arrived)
	case frameLane:
		return new(Lane)
	case frameAside:
		return new(Aside)
	case frameGates:
		return new(Gates)
	case frameJoin:
		return new(Join)
	case frameJoined:
		return new(Joined)
	case framePeerOpen:
		return new(PeerOpen)
	case framePeerAuthenticated:
		return new(PeerAuthenticated)
	case framePeerAsk:
		return new(PeerAsk)
	case framePeerAnswer:
		return new(PeerAnswer)
	}
	return nil
}
