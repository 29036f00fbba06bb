package wire

// Channel says what a conversation of a session of kind ssh is: one channel of the session's SSH connection (RFC 4254).
type Channel struct {
	Command []byte `cbor:"1,keyasint"` // for the login's shell, as ssh sends it; empty: that shell itself. Of a Subsystem its name. At most MaxCommand bytes
	// Plain says that a program has no terminal: the bytes are the program's own, and standard error is apart. Unless it is numbered it is no
	// longer there than this stream, which does not come back: Connect.Size, Term, Client, Modes and what is about a screen
	// have no meaning.
	Plain bool        `cbor:"2,keyasint"`
	Kind  ChannelKind `cbor:"3,keyasint"` // empty: a program
	// Host and Port are where a TCP goes, as the machine understands them, or at which a ListenTCP listens: port 0 is any. Of
	// DialUnix and ListenUnix, Host is the socket's absolute path.
	Host   string `cbor:"4,keyasint"` // at most MaxTarget bytes
	Port   uint16 `cbor:"5,keyasint"`
	Number uint32 `cbor:"6,keyasint"` // Accept: of the Arrived; Back: of the channel
	// Agent asks that the program can reach the operator's SSH agent: an open ForwardAgent of the same session takes its
	// connections.
	Agent bool `cbor:"7,keyasint"`
	// Origin and OriginPort are who connected to the CLI's listener, for the machine's log; empty: nobody says.
	Origin     string `cbor:"8,keyasint"`
	OriginPort uint16 `cbor:"9,keyasint"`
}

// ChannelKind tells the conversations of a session apart.
type ChannelKind string

// The kinds of channels. Behind Attached they carry what is said here.
const (
	Program      ChannelKind = ""            // as a viewer of a terminal, or as a program if it is Plain
	Hold         ChannelKind = "hold"        // nothing: the session stays open for as long as this stream does; Exit ends it
	SFTP         ChannelKind = "sftp"        // raw bytes: SFTP version 3, as the relay lets it pass
	System       ChannelKind = "subsystem"   // as a Plain program; Command is the subsystem's name, and is not sftp
	DialTCP      ChannelKind = "tcp"         // raw bytes; FIN is the end of one direction. If it is Numbered: a [Lasting]
	DialUnix     ChannelKind = "unix"        // the same
	ListenTCP    ChannelKind = "listen-tcp"  // relay -> Arrived …, Exit
	ListenUnix   ChannelKind = "listen-unix" // the same
	ForwardAgent ChannelKind = "agent"       // the same, for connections to the operator's SSH agent
	Accept       ChannelKind = "accept"      // raw bytes of what Arrived on another stream of this session; if it is Numbered, a [Lasting]
	Back         ChannelKind = "back"        // the connection that is channel Number of this session, which its viewer has lost: a [Lasting]
	Tunnel       ChannelKind = "raw"         // raw bytes of the machine's own SSH server; it is alone in its session
)

// MaxTarget is how long a [Channel]'s host or path may be, in bytes.
const MaxTarget = 255

// MaxCommand is how long a [Channel]'s command may be, in bytes: SSH's packets hold no more (RFC 4253, 6.1).
const MaxCommand = 31 << 10

// Arrived says that somebody connected to what a channel listens at. Who wants the connection opens a channel
// Accept with this number within 15 s; otherwise it is closed.
type Arrived struct {
	Number     uint32 `cbor:"1,keyasint"` // in its session, from 1
	Origin     string `cbor:"2,keyasint"` // who connected, as the SSH server says; empty: a socket's path, or the agent
	OriginPort uint16 `cbor:"3,keyasint"`
}

// Right is a use of a session of kind ssh, which server.yaml and agent.yaml allow or not, each in scrier.allow.
type Right string

// The rights.
const (
	MayShell    Right = "shell"    // a terminal with the login's shell
	MayExec     Right = "exec"     // a command, or anything else without a terminal
	MayUpload   Right = "upload"   // change files over SFTP
	MayDownload Right = "download" // read files over SFTP
	MayForward  Right = "forward"  // connect from the machine
	MayReverse  Right = "reverse"  // listen at the machine
	MayAgent    Right = "agent_forwarding"
	MayRaw      Right = "raw" // the bytes of the machine's own SSH server, which nobody can check or record
)

// Rights lists them in their usual order.
func Rights() []Right {
	return []Right{MayShell, MayExec, MayUpload, MayDownload, MayForward, MayReverse, MayAgent, MayRaw}
}

// MaxRights is how many a message may list.
const MaxRights = 16
