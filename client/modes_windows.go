package client

// Modes are none: a Windows console has no such modes, and the relay then sends those of a usual terminal.
func (t *Terminal) Modes() []byte { return nil }
