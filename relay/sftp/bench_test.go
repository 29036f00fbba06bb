package sftp_test

import (
	"encoding/binary"
	"io"
	"sync"
	"testing"

	"scrier/relay/sftp"
)

// source is an end that takes what it is sent for nothing, and sends packets that cost nothing to make.
type source struct {
	mu     sync.Mutex
	more   sync.Cond
	taken  int // bytes
	closed bool
	next   func(taken int) []byte // the next packets; nil: not yet
	rest   []byte
}

func newSource(next func(int) []byte) *source {
	s := &source{next: next}
	s.more.L = &s.mu
	return s
}

func (s *source) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.taken += len(b)
	s.more.Signal()
	return len(b), nil
}

func (s *source) Read(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for len(s.rest) == 0 {
		if s.rest = s.next(s.taken); s.rest != nil {
			break
		}
		if s.closed {
			return 0, io.EOF
		}
		s.more.Wait()
	}
	n := copy(b, s.rest)
	s.rest = s.rest[n:]
	return n, nil
}

func (s *source) CloseWrite() error { return s.Close() }
func (s *source) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.more.Broadcast()
	return nil
}

func packet(kind byte, fields ...any) []byte {
	b := []byte{0, 0, 0, 0, kind}
	for _, f := range fields {
		switch f := f.(type) {
		case int:
			b = binary.BigEndian.AppendUint32(b, uint32(f))
		case uint64:
			b = binary.BigEndian.AppendUint64(b, f)
		case string:
			b = append(binary.BigEndian.AppendUint32(b, uint32(len(f))), f...)
		case []byte: // as it is
			b = append(b, f...)
		}
	}
	binary.BigEndian.PutUint32(b, uint32(len(b)-4))
	return b
}

const block = 32 << 10 // OpenSSH's and pkg/sftp's

// inFlight is how many requests a client lets wait.
const inFlight = 64

// BenchmarkUpload measures what Pass takes of the processor, and nothing else.
func BenchmarkUpload(b *testing.B) {
	begin := append(packet(1, 3), packet(3, 1, "/file", 2, 0)...)
	write := packet(6, 2, "h", uint64(0), string(random(block)))
	answers := 0
	server := newSource(func(taken int) []byte {
		switch done := (taken - len(begin)) / len(write); {
		case answers == 0 && taken > 0:
			answers++
			return append(packet(2, 3), packet(102, 1, "h")...)
		case answers > 0 && answers <= done:
			answers++
			return packet(101, answers, 0, "", "")
		}
		return nil
	})
	asked := -1
	client := newSource(nil)
	client.next = func(taken int) []byte {
		switch answered := taken / len(packet(101, 0, 0, "", "")); {
		case asked < 0:
			asked++
			return begin
		case taken == 0 || asked >= b.N || asked >= answered+inFlight:
			client.closed = asked >= b.N
			return nil
		}
		binary.BigEndian.PutUint32(write[5:], uint32(asked+2))
		binary.BigEndian.PutUint64(write[14:], uint64(asked)*block)
		asked++
		return write
	}
	run(b, client, server, func(s sftp.Summary) uint64 { return s.Sent })
}

func BenchmarkDownload(b *testing.B) {
	begin := append(packet(1, 3), packet(3, 1, "/file", 1, 0)...)
	read := packet(5, 2, "h", uint64(0), block)
	data := packet(103, 2, string(random(block)))
	answers := 0
	server := newSource(func(taken int) []byte {
		switch done := (taken - len(begin)) / len(read); {
		case answers == 0 && taken > 0:
			answers++
			return append(packet(2, 3), packet(102, 1, "h")...)
		case answers > 0 && answers <= done:
			answers++
			binary.BigEndian.PutUint32(data[5:], uint32(answers))
			return data
		}
		return nil
	})
	asked := -1
	client := newSource(nil)
	client.next = func(taken int) []byte {
		switch answered := taken / len(data); {
		case asked < 0:
			asked++
			return begin
		case taken == 0 || asked >= b.N || asked >= answered+inFlight:
			client.closed = asked >= b.N
			return nil
		}
		binary.BigEndian.PutUint32(read[5:], uint32(asked+2))
		binary.BigEndian.PutUint64(read[14:], uint64(asked)*block)
		asked++
		return read
	}
	run(b, client, server, func(s sftp.Summary) uint64 { return s.Received })
}

func run(b *testing.B, client, server *source, bytes func(sftp.Summary) uint64) {
	b.SetBytes(block)
	b.ResetTimer()
	var recorded sftp.File
	s, err := sftp.Pass(b.Context(), client, server, sftp.Config{Rights: both, File: func(f sftp.File) func() error {
		recorded = f
		return nil
	}})
	if err != nil || bytes(s) != uint64(b.N)*block {
		b.Fatal(s, err)
	}
	transfer := recorded.Up
	if transfer == nil {
		transfer = recorded.Down
	}
	if transfer == nil || transfer.Bytes != bytes(s) {
		b.Fatal("not recorded")
	}
}
