package guactest

// Behaviour is how a [Server] treats whoever calls.
type Behaviour int

// The behaviours. Unless something else is said, what is not named goes as in Normal.
const (
	Normal            Behaviour = iota // dials hostname:port, draws a picture, takes input, lets others join
	Silent                             // accepts, and says nothing
	ArgsThenSilent                     // says args, and nothing more
	ClosesAfterSelect                  // closes the connection when it has read select
	ClosesAfterArgs                    // closes the connection when it has said args
	ErrorForArgs                       // says error 512 instead of args
	ErrorBeforeReady                   // says error 768 instead of ready
	NotFound                           // says error 519 after ready and leaves the connection open, as guacd does
	Unauthorized                       // says error 769 after ready
	WrongSecurity                      // says error 769 after ready, with the words that are about security
	UpstreamTimeout                    // says error 514 after ready
	LogsOff                            // says error 523 "Logged off." after the picture, and disconnects
	HangsAfterReady                    // never says anything after ready, no nop either
	Floods                             // sends pictures as fast as they are read
	EndlessDigits                      // sends digits of a length without end after ready
	HugeInstruction                    // sends one instruction of 10 MB after ready
	BadUTF8                            // sends an element that is not UTF-8 after ready
	NegativeLength                     // sends a length of -1 after ready
	LongElement                        // claims an element of 99,999 characters after ready
	WrongTerminator                    // ends an element with a colon after ready
	BreaksOff                          // closes in the middle of an instruction after ready
	ManyNames                          // asks for 10,000 parameters
	UnknownVersion                     // says VERSION_9_9_9
	OddVersion                         // says VERSION_one
	Version10                          // speaks 1.0: no version, no timezone, no name
	Version13                          // asks for what guacd 1.3.0 asks for
	Version16                          // asks for what guacd 1.6.0 asks for, cert-fingerprints too; Normal does so as well
	ManyStreams                        // opens 1,000 pictures and ends none
	HugeLayer                          // makes the screen 60,000 x 60,000
	ManyLayers                         // makes buffers without end
	HugePicture                        // puts a picture far outside of a buffer
	Forbidden                          // mixes what no viewer may see (pipe, argv, nest, video, ...) into the picture
	PushesClipboard                    // sends the desktop's clipboard, with a text in it
	SendsFile                          // shows a file system and sends a file that nobody asked for
	SharesDrive                        // shows a drive to the first user alone, and takes and gives files there
	LosesDrive                         // the same, but for the first two desktops: their first users are not registered yet
	PlaysAudio                         // opens an audio stream
	Asks                               // asks for the password, and draws when it has it
	AsksOddly                          // asks for the hostname
	Disconnects                        // says disconnect after the picture
	DialsTwice                         // dials hostname:port two times
	NeverDials                         // draws without having dialled
	Drips                              // sends each byte by itself
	EmptyID                            // says ready without an id
	ReadyTwice                         // says ready again after the picture
	ReadyFirst                         // says ready instead of args
	EndlessNops                        // says nop instead of ready, without end
	JoinRefused                        // closes when somebody joins, as guacd does if there is no such connection
	LosesBeginning                     // draws before its first user is registered: that one is not told how large the screen is
	IgnoresInput                       // stops reading after connect
	Spins                              // does not notice the desktop server's end, as 1.6.0 with RDP: nop goes on for ever
	Loses                              // the same, and it draws nothing: 1.6.0 says an error to nobody that comes too early
	Unavailable                        // says error 520 at the desktop server's end, as 1.6.1 does when a user logs off
	Unavailable13                      // the same as 1.3 says it of a server that breaks off
	UnavailableAtOnce                  // says error 520 before there is a picture
	Elsewhere                          // says error 521 "Disconnected by other connection." after the picture, and disconnects
	CallsAndGoes                       // closes its connection to hostname:port at once, and says nothing of it
	Freezes                            // never says anything after the picture
	Freezes10                          // the same, and it speaks 1.0
	behaviours
)

// All lists every behaviour.
func All() []Behaviour {
	all := make([]Behaviour, behaviours)
	for n := range all {
		all[n] = Behaviour(n)
	}
	return all
}
