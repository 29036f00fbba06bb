package wire

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
)

// Secret is text that no log, no record and no error message shows, whatever prints it. Only
// [Secret.Reveal] gives it away.
type Secret struct{ text string }

const redacted = "[redacted]"

// NewSecret hides text.
func NewSecret(text string) Secret { return Secret{text} }

// Reveal is the text itself, for the one place that needs it.
func (s Secret) Reveal() string { return s.text }

// Format prints the same for every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, redacted) }

// LogValue is for package slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText keeps it out of every encoding that asks.
func (s Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalCBOR keeps it out of messages.
func (s Secret) MarshalCBOR() ([]byte, error) { return nil, Errorf(Internal, "a secret is not sent") }

// UnmarshalJSON takes it from a request.
func (s *Secret) UnmarshalJSON(b []byte) error { return json.Unmarshal(b, &s.text) }
