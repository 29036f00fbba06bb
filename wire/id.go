package wire

import (
	"github.com/google/uuid"
)

// EnvoyID names a managed machine. The relay chooses it at enrolment; it is never taken from a
// payload where a certificate can tell it.
type EnvoyID struct{ uuid.UUID }

// SessionID names one session; ids of one relay sort by time (UUID version 7, RFC 9562).
type SessionID struct{ uuid.UUID }

// NewEnvoyID returns a random id.
func NewEnvoyID() EnvoyID { return EnvoyID{uuid.New()} }

// NewSessionID returns an id that sorts after those made before it.
func NewSessionID() SessionID { return SessionID{uuid.Must(uuid.NewV7())} }

// ParseEnvoyID reads the canonical form of 36 characters and no other.
func ParseEnvoyID(s string) (EnvoyID, error) {
	u, err := parseUUID(s)
	return EnvoyID{u}, err
}

// ParseSessionID reads the canonical form of 36 characters and no other.
func ParseSessionID(s string) (SessionID, error) {
	u, err := parseUUID(s)
	return SessionID{u}, err
}

func parseUUID(s string) (uuid.UUID, error) {
	u, err := uuid.Parse(s)
	if err != nil || u.String() != s {
		return uuid.Nil, Errorf(BadRequest, "%q is not an id", Printable(s))
	}
	return u, nil
}
