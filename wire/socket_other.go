//go:build !linux

package wire

import "errors"

type socketSystem struct{}

func (s *Socket) prepare() {}

// drain does nothing: the system tells no errors of earlier packets.
func (s *Socket) drain() int { return 0 }

// Rebind is not possible.
func (s *Socket) Rebind() error { return errors.ErrUnsupported }
