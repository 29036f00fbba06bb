package console

import (
	"encoding/binary"
	"image/color"
	"io"
	"testing"
	"time"
)

// rfb is a small client of RFC 6143: no security, 32 bits a pixel as the server likes them, raw.
type rfb struct {
	t             testing.TB
	share         *Share
	width, height int
	pixels        []byte // 4 a pixel: blue, green, red
}

func newRFB(t testing.TB, s *Share) *rfb {
	t.Helper()
	must(t, s.Conn.SetDeadline(time.Now().Add(60*time.Second)))
	r := &rfb{t: t, share: s}
	if v := string(r.read(12)); v != "RFB 003.008\n" {
		t.Fatalf("the server says %q", v)
	}
	r.write([]byte("RFB 003.008\n"))
	if kinds := r.read(int(r.read(1)[0])); len(kinds) != 1 || kinds[0] != 1 {
		t.Fatalf("security types %v, want none", kinds)
	}
	r.write([]byte{1})
	if result := binary.BigEndian.Uint32(r.read(4)); result != 0 {
		t.Fatalf("security result %d", result)
	}
	r.write([]byte{1})
	init := r.read(24)
	r.width, r.height = int(binary.BigEndian.Uint16(init)), int(binary.BigEndian.Uint16(init[2:]))
	if init[4] != 32 {
		t.Fatalf("%d bits a pixel", init[4])
	}
	r.read(int(binary.BigEndian.Uint32(init[20:])))
	r.write([]byte{2, 0, 0, 1, 0, 0, 0, 0}) // SetEncodings: raw
	r.pixels = make([]byte, r.width*r.height*4)
	return r
}

func (r *rfb) read(n int) []byte {
	r.t.Helper()
	b := make([]byte, n)
	if _, err := io.ReadFull(r.share.Conn, b); err != nil {
		r.t.Fatalf("read from the server: %v", err)
	}
	return b
}

func (r *rfb) write(b []byte) {
	r.t.Helper()
	if _, err := r.share.Conn.Write(b); err != nil {
		r.t.Fatalf("write to the server: %v", err)
	}
}

// update asks for the whole picture and reads it. The server has handled all earlier messages then.
func (r *rfb) update() {
	r.t.Helper()
	ask := []byte{3, 0, 0, 0, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(ask[6:], uint16(r.width))
	binary.BigEndian.PutUint16(ask[8:], uint16(r.height))
	r.write(ask)
	for {
		switch kind := r.read(1)[0]; kind {
		case 0:
			r.rectangles()
			return
		case 2: // bell
		case 3: // the clipboard
			h := r.read(7)
			r.read(int(binary.BigEndian.Uint32(h[3:])))
		default:
			r.t.Fatalf("message %d", kind)
		}
	}
}

func (r *rfb) rectangles() {
	r.t.Helper()
	n := int(binary.BigEndian.Uint16(r.read(3)[1:]))
	for range n {
		h := r.read(12)
		at := func(i int) int { return int(binary.BigEndian.Uint16(h[i:])) }
		x, y, w, height := at(0), at(2), at(4), at(6)
		if e := int32(binary.BigEndian.Uint32(h[8:])); e != 0 || x+w > r.width || y+height > r.height {
			r.t.Fatalf("encoding %d of %dx%d+%d+%d", e, w, height, x, y)
		}
		for row := range height {
			copy(r.pixels[((y+row)*r.width+x)*4:], r.read(w*4))
		}
	}
}

func (r *rfb) at(x, y int) color.RGBA {
	p := r.pixels[(y*r.width+x)*4:]
	return color.RGBA{p[2], p[1], p[0], 255}
}

// sees polls until the pixel has the colour.
func (r *rfb) sees(x, y int, want color.RGBA) {
	r.t.Helper()
	var got color.RGBA
	for end := time.Now().Add(40 * time.Second); time.Now().Before(end); {
		r.update()
		if got = r.at(x, y); got == want {
			return
		}
	}
	r.t.Fatalf("the pixel at %d,%d is %v, want %v", x, y, got, want)
}

func (r *rfb) pointer(buttons byte, x, y int) {
	r.t.Helper()
	b := []byte{5, buttons, 0, 0, 0, 0}
	binary.BigEndian.PutUint16(b[2:], uint16(x))
	binary.BigEndian.PutUint16(b[4:], uint16(y))
	r.write(b)
}

func (r *rfb) key(down byte, sym uint32) {
	r.t.Helper()
	b := []byte{4, down, 0, 0, 0, 0, 0, 0}
	binary.BigEndian.PutUint32(b[4:], sym)
	r.write(b)
}
