package wire

// PeerOpen asks a relay for a session's stream to an envoy whose link it has: Opened or Refused, and then raw bytes, as from the
// agent itself. What Open says of lanes has no meaning: the relay that has the link offers its own.
type PeerOpen struct {
	Envoy EnvoyID `cbor:"1,keyasint"`
	Open  Open    `cbor:"2,keyasint"`
	Early []byte  `cbor:"3,keyasint"` // what is sent right behind Open, at most [MaxEarly] bytes
}

// MaxEarly is how much may be sent behind Open before its answer, in bytes: SSH's version line has 255 at most (RFC 4253, 4.2).
const MaxEarly = 255

// PeerAuthenticated is [Authenticated] for an envoy whose link another relay has. An error is answered by Refused; else the stream
// ends.
type PeerAuthenticated struct {
	Envoy   EnvoyID   `cbor:"1,keyasint"`
	Session SessionID `cbor:"2,keyasint"`
}

// PeerAsk asks a relay that has an envoy's link what it knows of the agent, which has just come to the one that asks.
type PeerAsk struct {
	Envoy EnvoyID `cbor:"1,keyasint"`
	Move  []byte  `cbor:"2,keyasint"` // as in Hello
}

// PeerAnswer says whether two machines have one identity. Without Answers the rest is empty.
type PeerAnswer struct {
	Expected   bool   `cbor:"1,keyasint"` // the agent has said that it comes
	Answers    bool   `cbor:"2,keyasint"` // it answers on its link here, too
	Generation uint64 `cbor:"3,keyasint"` // of the certificate that it has here
	Key        []byte `cbor:"4,keyasint"` // SHA-256 of that one's public key
	Source     string `cbor:"5,keyasint"` // the address from which it was used last
	Time       int64  `cbor:"6,keyasint"` // when, Unix milliseconds
	Boot       string `cbor:"7,keyasint"`
}

func (*PeerOpen) frame() FrameType          { return framePeerOpen }
func (*PeerAuthenticated) frame() FrameType { return framePeerAuthenticated }
func (*PeerAsk) frame() FrameType           { return framePeerAsk }
func (*PeerAnswer) frame() FrameType        { return framePeerAnswer }
