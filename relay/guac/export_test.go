package guac

import (
	"context"
	"net"
	"time"
)

// HandshakeWithin is Handshake with other time-outs, for tests of what guacd does not say.
func HandshakeWithin(ctx context.Context, c net.Conn, p Params, args, ready time.Duration) (*Connection, error) {
	return timing{args, ready}.handshake(ctx, c, p)
}

// Buffered is how many bytes were read and not returned yet.
func (r *Reader) Buffered() int { return r.end - r.start }

// Drawing lists the opcodes that draw.
func Drawing() map[string]string { return drawing }
