package wire

import "strconv"

// A Road is the transport under a link, as lists and logs name it.
type Road string

// The roads to a relay: one port number, UDP and TCP.
const (
	QUIC Road = "quic"
	TCP  Road = "tcp" // TLS over TCP, for networks that carry no UDP
)

// Transport is which roads may be taken; the zero value is [Auto].
type Transport string

// The transports that can be asked for.
const (
	Auto     Transport = "auto" // QUIC first, and TCP if that does not answer at once
	OnlyQUIC Transport = "quic"
	OnlyTCP  Transport = "tcp"
)

// UnmarshalText implements [encoding.TextUnmarshaler].
func (t *Transport) UnmarshalText(text []byte) error {
	switch got := Transport(text); got {
	case Auto, OnlyQUIC, OnlyTCP:
		*t = got
		return nil
	}
	return Errorf(BadRequest, "the transport %s is not known", strconv.Quote(cutString(string(text), 64))).
		Advise("it is one of auto, quic and tcp")
}

// UnmarshalYAML reads the word of a configuration file, and says where something else stands.
func (t *Transport) UnmarshalYAML(decode func(any) error) error {
	var word string
	if err := decode(&word); err != nil {
		return err
	}
	return t.UnmarshalText([]byte(word))
}

// MarshalText implements [encoding.TextMarshaler].
func (t Transport) MarshalText() ([]byte, error) { return []byte(t.String()), nil }

func (t Transport) String() string {
	if t == "" {
		return string(Auto)
	}
	return string(t)
}

// has says whether a road may be taken.
func (t Transport) has(r Road) bool { return t.String() == string(Auto) || t.String() == string(r) }
