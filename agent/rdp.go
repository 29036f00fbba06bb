package agent

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"time"

	"scrier/certs"
	"scrier/wire"
)

// An RDP connection begins in the clear: the client's X.224 Connection Request says which kinds of
// security it speaks, the server's Confirm which one it is (MS-RDPBCGR 1.3.1.1, 2.2.1.1, 2.2.1.2):
//
//	TPKT (RFC 1006)  03 00 LENGTH(2, big-endian, of all)
//	X.224            LI(1, length of what follows) CODE(1) DST(2) SRC(2) CLASS(1)
//	RDP_NEG_*        TYPE(1) FLAGS(1) 08 00 VALUE(4, little-endian)
//
// The TLS handshake follows right behind it, with NLA too.
const (
	rdpProbeTimeout = 5 * time.Second

	tpktVersion = 3
	tpktHeader  = 4
	x224Header  = 7    // with LI
	x224Request = 0xe0 // CR TPDU
	x224Confirm = 0xd0 // CC TPDU
	negLength   = 8
	maxConfirm  = 256 // bytes; a server's has 19, or 11 without RDP_NEG_*

	negRequest  = 1
	negResponse = 2
	negFailure  = 3
)

// The kinds of security (MS-RDPBCGR 2.2.1.1.1). HYBRID_EX is not asked for: guacd's "nla" does not
// speak it, and servers that do speak HYBRID as well.
const (
	protocolRDP    = 0 // RDP's own
	protocolSSL    = 1
	protocolHybrid = 2 // NLA
)

// rdpServer is what an RDP server chose.
type rdpServer struct {
	security    wire.Security
	certificate []byte // SHA-256
}

// probeRDP asks the server at the other end of conn which kind of security it chooses among those
// that want allows. The connection can be used for nothing else afterwards.
func probeRDP(ctx context.Context, conn net.Conn, want wire.Security) (rdpServer, error) {
	ctx, cancel := context.WithTimeout(ctx, rdpProbeTimeout)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Now()) }) // fails only if conn is closed, which ends the probe too
	defer stop()
	chosen, err := negotiate(conn, want)
	if err == nil {
		var leaf rdpServer
		if leaf, err = showCertificate(ctx, conn, chosen); err == nil {
			return leaf, nil
		}
	}
	switch {
	case ctx.Err() != nil:
		if wire.CodeOf(context.Cause(ctx)) != wire.Internal {
			return rdpServer{}, context.Cause(ctx) // why the session itself ended
		}
		return rdpServer{}, &wire.Error{Code: wire.DesktopFailed, Detail: fmt.Sprintf("the RDP server did not answer within %s", rdpProbeTimeout), Err: err}
	case wire.CodeOf(err) == wire.Internal:
		return rdpServer{}, &wire.Error{Code: wire.DesktopFailed, Detail: "the RDP server broke off at the beginning of the connection", Err: err}
	}
	return rdpServer{}, err
}

func showCertificate(ctx context.Context, conn net.Conn, chosen wire.Security) (rdpServer, error) {
	leaf, err := certs.Probe(ctx, conn)
	if err != nil {
		return rdpServer{}, err
	}
	return rdpServer{security: chosen, certificate: certs.Fingerprint(leaf)}, nil
}

// negotiate is the part before TLS. It does not read beyond the Confirm: what follows is TLS.
func negotiate(conn io.ReadWriter, want wire.Security) (wire.Security, error) {
	// NLA (CredSSP) runs inside TLS, so a client that asks for NLA must ask for TLS too (2.2.1.1.1).
	ask := uint32(protocolSSL | protocolHybrid)
	if want == wire.TLS {
		ask = protocolSSL
	}
	if _, err := conn.Write(connectionRequest(ask)); err != nil {
		return "", err
	}
	confirm, err := readConfirm(conn)
	if err != nil {
		return "", err
	}
	chosen, err := parseConfirm(confirm)
	if err != nil {
		return "", err
	}
	switch {
	case chosen == protocolRDP:
		return "", errOnlyRDP()
	case chosen&ask != chosen || chosen != protocolSSL && chosen != protocolHybrid:
		return "", wire.Errorf(wire.DesktopSecurity, "the RDP server chose security 0x%x, which it was not asked for", chosen)
	case chosen == protocolHybrid:
		return wire.NLA, nil
	case want == wire.NLA:
		return "", wire.Errorf(wire.DesktopSecurity, "the RDP server does not speak NLA; it would take tls")
	}
	return wire.TLS, nil
}

func connectionRequest(ask uint32) []byte {
	const size = tpktHeader + x224Header + negLength
	p := []byte{tpktVersion, 0, 0, size, size - tpktHeader - 1, x224Request, 0, 0, 0, 0, 0, negRequest, 0, negLength, 0}
	return binary.LittleEndian.AppendUint32(p, ask)
}

// readConfirm reads one packet without its TPKT header.
func readConfirm(r io.Reader) ([]byte, error) {
	var head [tpktHeader]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := int(binary.BigEndian.Uint16(head[2:]))
	if head[0] != tpktVersion || size < tpktHeader+x224Header || size > maxConfirm {
		return nil, errNoRDP()
	}
	body := make([]byte, size-tpktHeader)
	_, err := io.ReadFull(r, body)
	return body, err
}

// parseConfirm is the security that a Connection Confirm chooses.
func parseConfirm(p []byte) (uint32, error) {
	if len(p) < x224Header || int(p[0]) != len(p)-1 || p[1]&0xf0 != x224Confirm {
		return 0, errNoRDP()
	}
	neg := p[x224Header:]
	if len(neg) == 0 { // a server so old that it knows RDP's own security alone
		return protocolRDP, nil
	}
	if len(neg) != negLength || binary.LittleEndian.Uint16(neg[2:]) != negLength {
		return 0, errNoRDP()
	}
	value := binary.LittleEndian.Uint32(neg[4:])
	switch neg[0] {
	case negResponse:
		return value, nil
	case negFailure:
		return 0, wire.Errorf(wire.DesktopSecurity, "the RDP server refused: %s", failure(value))
	}
	return 0, errNoRDP()
}

// failure is the meaning of a failureCode (MS-RDPBCGR 2.2.1.2.2).
func failure(code uint32) string {
	switch code {
	case 1:
		return "it demands TLS"
	case 2:
		return "it speaks RDP's own security only, which is too weak"
	case 3:
		return "it has no certificate for TLS"
	case 5:
		return "it demands NLA; ask for nla or any"
	case 6:
		return "it demands TLS with a client's certificate"
	}
	return fmt.Sprintf("failure code %d", code)
}

func errOnlyRDP() error {
	return wire.Errorf(wire.DesktopSecurity, "the RDP server speaks RDP's own security only, which is too weak; switch TLS or NLA on there")
}

func errNoRDP() error {
	return wire.Errorf(wire.DesktopFailed, "what listens there does not speak RDP")
}
