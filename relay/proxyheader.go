package relay

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"strings"
)

// The PROXY protocol (haproxy.org/download/2.9/doc/proxy-protocol.txt): what a proxy says in front of the bytes of the
// connection that it passes on.
//
//	version 1: "PROXY TCP4|TCP6 source destination port port\r\n", or "PROXY UNKNOWN …\r\n"
//	version 2: signature (12) | version and command (1) | family and transport (1) | length (2) | addresses | TLVs
const (
	proxySignature = "\r\n\r\n\x00\r\nQUIT\n"
	proxyV1        = "PROXY "

	// ProxyLocal is the header of a proxy that connects for itself, as for a health check.
	ProxyLocal = proxySignature + "\x20\x00\x00\x00"

	maxProxyV1 = 107     // bytes, the line's end included
	maxProxyV2 = 4 << 10 // bytes of addresses and TLVs, of which only the addresses are kept
)

var errNoHeader = errors.New("it does not begin with a header of the PROXY protocol")

// readProxyHeader reads a header and not a byte more. from is not valid if the proxy connects for itself, or does not
// know for whom.
func readProxyHeader(r io.Reader) (from netip.AddrPort, err error) {
	head := make([]byte, len(proxySignature)) // of both versions that many are there
	if _, err := io.ReadFull(r, head); err != nil {
		return from, err
	}
	switch {
	case string(head) == proxySignature:
		return readProxyV2(r)
	case bytes.HasPrefix(head, []byte(proxyV1)):
		return readProxyV1(r, head)
	}
	return from, errNoHeader
}

func readProxyV1(r io.Reader, line []byte) (from netip.AddrPort, err error) {
	for one := make([]byte, 1); !bytes.HasSuffix(line, []byte("\r\n")); line = append(line, one[0]) {
		if len(line) == maxProxyV1 {
			return from, fmt.Errorf("its line is longer than %d bytes", maxProxyV1)
		}
		if _, err := io.ReadFull(r, one); err != nil {
			return from, err
		}
	}
	word := strings.Split(strings.TrimSuffix(string(line), "\r\n"), " ")
	if word[1] == "UNKNOWN" {
		return from, nil
	}
	if len(word) != 6 || word[1] != "TCP4" && word[1] != "TCP6" {
		return from, fmt.Errorf("its line is %q", line)
	}
	var ends [2]netip.AddrPort
	for i := range ends {
		addr, err := netip.ParseAddr(word[2+i])
		if err != nil || addr.Is4() != (word[1] == "TCP4") || addr.Zone() != "" {
			return from, fmt.Errorf("%q is no address of %s", word[2+i], word[1])
		}
		port, err := strconv.ParseUint(word[4+i], 10, 16)
		if err != nil {
			return from, fmt.Errorf("%q is no port", word[4+i])
		}
		ends[i] = netip.AddrPortFrom(addr.Unmap(), uint16(port))
	}
	return ends[0], nil
}

func readProxyV2(r io.Reader) (from netip.AddrPort, err error) {
	const local, proxied = 0x20, 0x21
	head := make([]byte, 4)
	if _, err := io.ReadFull(r, head); err != nil {
		return from, err
	}
	command, family, length := head[0], head[1], int64(binary.BigEndian.Uint16(head[2:]))
	if command != local && command != proxied {
		return from, fmt.Errorf("its version and command are 0x%02x", command)
	}
	if length > maxProxyV2 {
		return from, fmt.Errorf("it is longer than %d bytes", maxProxyV2)
	}
	var size int // of one address
	switch family {
	case 0x11:
		size = 4
	case 0x21:
		size = 16
	case 0x00, 0x31: // it does not say, or its own peer came over a Unix socket
	default:
		if command == proxied {
			return from, fmt.Errorf("its family and transport are 0x%02x, which is not TCP", family)
		}
	}
	if command == local { // whatever else it says
		size = 0
	}
	var ends []byte
	if size > 0 {
		ends = make([]byte, 2*size+4)
		if length < int64(len(ends)) {
			return from, errors.New("it is too short for its addresses")
		}
		if _, err := io.ReadFull(r, ends); err != nil {
			return from, err
		}
		addr, _ := netip.AddrFromSlice(ends[:size])
		from = netip.AddrPortFrom(addr.Unmap(), binary.BigEndian.Uint16(ends[2*size:]))
	}
	_, err = io.CopyN(io.Discard, r, length-int64(len(ends)))
	return from, err
}
