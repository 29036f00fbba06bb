package proxy

import (
	"io"
	"os"

	"golang.org/x/term"

	"scrier/wire"
)

// stdio is standard input and output, as one.
type stdio struct{ in, out *os.File }

// Stdio is this process's standard input and output, for [Config.Conn]. Where they are pipes or sockets, Close ends a Read
// that waits; elsewhere the process has to end.
func Stdio() (io.ReadWriteCloser, error) {
	if term.IsTerminal(int(os.Stdin.Fd())) {
		return nil, wire.Errorf(wire.Usage, "standard input is a terminal: this command speaks SSH there, for ssh's ProxyCommand; `scrier ssh-config` writes a configuration that uses it")
	}
	return &stdio{pollable(os.Stdin), pollable(os.Stdout)}, nil
}

func (s *stdio) Read(b []byte) (int, error)  { return s.in.Read(b) }
func (s *stdio) Write(b []byte) (int, error) { return s.out.Write(b) }

// Close ends both.
func (s *stdio) Close() error {
	err := s.in.Close()
	if oerr := s.out.Close(); err == nil {
		err = oerr
	}
	return err
}
