// Package sockets tells who has the TCP sockets of this machine, as the kernel does in /proc/net/tcp
// (proc_net_tcp(5)): who listens at a port, and who is at the other end of a local connection.
//
// Any user may listen at a free port above 1023, and any user may connect to a port on loopback. So a
// program that connects to a local server, or waits for a local client, must find out whose it is.
package sockets

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
)

// The files in which the kernel lists the sockets of this process's network namespace.
const (
	procTCP  = "/proc/self/net/tcp"
	procTCP6 = "/proc/self/net/tcp6"

	maxLine = 512 // bytes; the kernel's have 150 and 180

	kernelRead = 4 << 10  // bytes that the kernel gives at once; an idle agent looks every 15 s, and its memory is the machine's
	maxFile    = 64 << 20 // bytes: 400,000 connections
)

// states of a socket, include/net/tcp_states.h.
const (
	established = "01"
	closeWait   = "08" // the other end has closed its half
	listening   = "0A"
)

// socket is one line of the table.
type socket struct {
	local, remote netip.AddrPort
	uid           uint32
	inode         uint64
}

// errNoSocket: the other end is not on this machine, or has gone.
var errNoSocket = errors.New("no process of this machine has that connection")

// Owner is the uid of the process that has the socket from local to remote: seen from the other end of
// a connection, its remote and local address.
func Owner(local, remote netip.AddrPort) (uid uint32, err error) {
	found := false
	match := func(s socket) {
		if s.inode != 0 && same(s.local, local) && same(s.remote, remote) {
			uid, found = s.uid, true
		}
	}
	for _, path := range []string{procTCP, procTCP6} { // an IPv6 socket may have an IPv4 connection
		if err := read(path, match, established, closeWait); err != nil && !errors.Is(err, os.ErrNotExist) {
			return 0, err
		}
	}
	if !found {
		return 0, errNoSocket
	}
	return uid, nil
}

func same(a, b netip.AddrPort) bool {
	return a.Port() == b.Port() && a.Addr().Unmap() == b.Addr().Unmap()
}

func read(path string, each func(socket), states ...string) error {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("read the machine's sockets: %w", err)
	}
	defer f.Close()
	if err := parse(io.LimitReader(f, maxFile+1), each, states...); err != nil {
		return fmt.Errorf("read the machine's sockets of %s: %w", path, err)
	}
	return nil
}

// parse reads a table and calls each for the sockets in one of the states. A line that it does not
// understand is an error, as nothing may be trusted because of a table that was misread.
func parse(r io.Reader, each func(socket), states ...string) error {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, kernelRead), maxLine)
	size, header := 0, true
	for lines.Scan() {
		line := lines.Bytes()
		if size += len(line) + 1; size > maxFile {
			return errors.New("it is too long")
		}
		if header {
			if f := bytes.Fields(line); len(f) < 2 || string(f[0]) != "sl" || string(f[1]) != "local_address" {
				return errors.New("it has no header")
			}
			header = false
			continue
		}
		s, ok, err := parseLine(line, states)
		if err != nil {
			return err
		}
		if ok {
			each(s)
		}
	}
	if err := lines.Err(); err != nil {
		return err
	}
	if header {
		return errors.New("it is empty")
	}
	return nil
}

// fields of a line: sl local remote state queues timer retransmits uid timeout inode …
const (
	fieldLocal  = 1
	fieldRemote = 2
	fieldState  = 3
	fieldUID    = 7
	fieldInode  = 9
)

// parseLine reads one line; ok says whether its state is wanted. If it is not, the rest of the line is
// not read: a busy server has a hundred thousand lines.
func parseLine(line []byte, states []string) (s socket, ok bool, err error) {
	bad := func(what string) (socket, bool, error) {
		return socket{}, false, fmt.Errorf("%s in %.200q", what, line)
	}
	var fields [fieldInode + 1][]byte
	n := 0
	for rest := line; n < len(fields); n++ {
		rest = bytes.TrimLeft(rest, " ")
		if fields[n], rest, _ = bytes.Cut(rest, []byte{' '}); len(fields[n]) == 0 {
			break
		}
	}
	if n <= fieldState || len(fields[fieldState]) != 2 {
		return bad("no state")
	}
	wanted := false
	for _, state := range states {
		wanted = wanted || string(fields[fieldState]) == state
	}
	if !wanted {
		return socket{}, false, nil
	}
	if n <= fieldInode {
		return bad("too few fields")
	}
	if s.local, ok = parseAddrPort(fields[fieldLocal]); !ok {
		return bad("no address")
	}
	if s.remote, ok = parseAddrPort(fields[fieldRemote]); !ok {
		return bad("no remote address")
	}
	uid, err := strconv.ParseUint(string(fields[fieldUID]), 10, 32)
	if err != nil {
		return bad("no uid")
	}
	if s.inode, err = strconv.ParseUint(string(fields[fieldInode]), 10, 64); err != nil || s.inode == 0 && string(fields[fieldState]) == listening {
		return bad("no inode") // a listening socket has one; one that nobody has accepted yet has none
	}
	s.uid = uint32(uid)
	return s, true, nil
}

func parseAddrPort(text []byte) (netip.AddrPort, bool) {
	addr, number, _ := bytes.Cut(text, []byte{':'})
	a, ok := parseAddr(addr)
	port, err := strconv.ParseUint(string(number), 16, 16)
	if !ok || err != nil || len(number) != 4 {
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, uint16(port)), true
}

// parseAddr reads words of 32 bits, each in the machine's own byte order.
func parseAddr(text []byte) (netip.Addr, bool) {
	var b [16]byte
	if len(text) != 8 && len(text) != 32 {
		return netip.Addr{}, false
	}
	n, err := hex.Decode(b[:], text)
	if err != nil {
		return netip.Addr{}, false
	}
	for i := 0; i < n; i += 4 {
		binary.NativeEndian.PutUint32(b[i:], binary.BigEndian.Uint32(b[i:]))
	}
	a, ok := netip.AddrFromSlice(b[:n])
	return a, ok
}
