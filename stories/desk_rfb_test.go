package stories

import (
	"bufio"
	"crypto/des"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// rfb is a VNC viewer (RFC 6143) that knows raw pixels alone, and has no window.
type rfb struct {
	conn net.Conn
	done chan struct{}
	wmu  sync.Mutex // orders what is written

	mu            sync.Mutex
	width, height int
	pixels        []uint32 // 0xRRGGBB
	clipboard     string
	err           error
}

const (
	rfbStep    = 15 * time.Second // for each message of the beginning
	maxPicture = 64 << 20         // bytes
)

// dialRFB connects, with a password if there is one, and keeps the picture until close.
func dialRFB(addr, password string) (*rfb, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	v := &rfb{conn: conn, done: make(chan struct{})}
	r := bufio.NewReaderSize(conn, 256<<10)
	err = conn.SetDeadline(time.Now().Add(rfbStep))
	if err == nil {
		err = v.begin(r, password)
	}
	if err == nil {
		err = conn.SetDeadline(time.Time{})
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("rfb %s: %w", addr, err)
	}
	go v.run(r)
	return v, nil
}

func (v *rfb) close() {
	_ = v.conn.Close()
	<-v.done
}

func (v *rfb) begin(r *bufio.Reader, password string) error {
	var version [12]byte
	if _, err := io.ReadFull(r, version[:]); err != nil {
		return fmt.Errorf("read the version: %w", err)
	}
	if string(version[:4]) != "RFB " {
		return fmt.Errorf("this is no VNC server: %q", version)
	}
	if _, err := io.WriteString(v.conn, "RFB 003.008\n"); err != nil {
		return err
	}
	if err := v.secure(r, password); err != nil {
		return err
	}
	if _, err := v.conn.Write([]byte{1}); err != nil { // shared
		return err
	}
	var init [24]byte
	if _, err := io.ReadFull(r, init[:]); err != nil {
		return fmt.Errorf("read the server's init: %w", err)
	}
	v.resize(binary.BigEndian.Uint16(init[:]), binary.BigEndian.Uint16(init[2:]))
	if _, err := r.Discard(int(binary.BigEndian.Uint32(init[20:]) & 0xffff)); err != nil {
		return err
	}
	// Little-endian 0x00RRGGBB; raw, and resizes (-223).
	return v.send(
		[]byte{0, 0, 0, 0, 32, 24, 0, 1, 0, 255, 0, 255, 0, 255, 16, 8, 0, 0, 0, 0},
		[]byte{2, 0, 0, 2, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0x21})
}

// secure agrees on None or VNC authentication.
func (v *rfb) secure(r *bufio.Reader, password string) error {
	n, err := r.ReadByte()
	if err != nil {
		return err
	}
	if n == 0 {
		why, _ := rfbText(r)
		return fmt.Errorf("the server refuses: %s", why)
	}
	kinds := make([]byte, n)
	if _, err := io.ReadFull(r, kinds); err != nil {
		return err
	}
	const none, vncAuth = 1, 2
	kind := byte(none)
	if password != "" {
		kind = vncAuth
	}
	if !slices.Contains(kinds, kind) {
		return fmt.Errorf("the server offers %d, not %d", kinds, kind)
	}
	if _, err := v.conn.Write([]byte{kind}); err != nil {
		return err
	}
	if kind == vncAuth {
		var challenge [16]byte
		if _, err := io.ReadFull(r, challenge[:]); err != nil {
			return err
		}
		var key [8]byte
		copy(key[:], password)
		for i := range key {
			key[i] = bits.Reverse8(key[i]) // as DES keys have their bits the other way round here
		}
		c, err := des.NewCipher(key[:])
		if err != nil {
			return err
		}
		c.Encrypt(challenge[:8], challenge[:8])
		c.Encrypt(challenge[8:], challenge[8:])
		if _, err := v.conn.Write(challenge[:]); err != nil {
			return err
		}
	}
	var result [4]byte
	if _, err := io.ReadFull(r, result[:]); err != nil {
		return err
	}
	if binary.BigEndian.Uint32(result[:]) != 0 {
		why, _ := rfbText(r)
		return fmt.Errorf("the password is refused: %s", why)
	}
	return nil
}

func rfbText(r io.Reader) (string, error) {
	var n uint32
	if err := binary.Read(r, binary.BigEndian, &n); err != nil {
		return "", err
	}
	if n > 1<<20 {
		return "", fmt.Errorf("a text of %d bytes", n)
	}
	text := make([]byte, n)
	_, err := io.ReadFull(r, text)
	return string(text), err
}

func (v *rfb) send(messages ...[]byte) error {
	v.wmu.Lock()
	defer v.wmu.Unlock()
	_, err := v.conn.Write(slices.Concat(messages...))
	return err
}

func (v *rfb) resize(width, height uint16) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.width, v.height = int(width), int(height)
	v.pixels = make([]uint32, v.width*v.height)
}

// ask wants what changed, or everything.
func (v *rfb) ask(changed byte) error {
	m := []byte{3, changed, 0, 0, 0, 0}
	v.mu.Lock()
	m = binary.BigEndian.AppendUint16(m, uint16(v.width))
	m = binary.BigEndian.AppendUint16(m, uint16(v.height))
	v.mu.Unlock()
	return v.send(m)
}

func (v *rfb) run(r *bufio.Reader) {
	defer close(v.done)
	err := v.ask(0)
	for err == nil {
		err = v.message(r)
	}
	v.mu.Lock()
	v.err = err
	v.mu.Unlock()
}

func (v *rfb) message(r *bufio.Reader) error {
	kind, err := r.ReadByte()
	if err != nil {
		return err
	}
	switch kind {
	case 0:
		return v.update(r)
	case 2: // bell
		return nil
	case 3:
		if _, err := r.Discard(3); err != nil {
			return err
		}
		text, err := rfbText(r)
		v.mu.Lock()
		v.clipboard = text
		v.mu.Unlock()
		return err
	}
	return fmt.Errorf("a message of kind %d", kind)
}

func (v *rfb) update(r *bufio.Reader) error {
	var head struct {
		_ byte
		N uint16
	}
	if err := binary.Read(r, binary.BigEndian, &head); err != nil {
		return err
	}
	changed := byte(1)
	for range head.N {
		var rect struct {
			X, Y, W, H uint16
			Encoding   int32
		}
		if err := binary.Read(r, binary.BigEndian, &rect); err != nil {
			return err
		}
		if rect.Encoding == -223 {
			v.resize(rect.W, rect.H)
			changed = 0
			continue
		}
		if rect.Encoding != 0 {
			return fmt.Errorf("an encoding that was not asked for, %d", rect.Encoding)
		}
		if int(rect.W)*int(rect.H)*4 > maxPicture {
			return errors.New("a picture that is too large")
		}
		raw := make([]byte, int(rect.W)*int(rect.H)*4)
		if _, err := io.ReadFull(r, raw); err != nil {
			return err
		}
		v.mu.Lock()
		for i := range int(rect.W) * int(rect.H) {
			x, y := int(rect.X)+i%int(rect.W), int(rect.Y)+i/int(rect.W)
			if x < v.width && y < v.height {
				v.pixels[y*v.width+x] = binary.LittleEndian.Uint32(raw[4*i:]) & 0xffffff
			}
		}
		v.mu.Unlock()
	}
	return v.ask(changed)
}

// hasColour says what is wrong with a pixel.
func (v *rfb) hasColour(x, y int, colour string) error {
	want, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 24)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if x >= v.width || y >= v.height {
		return fmt.Errorf("%d,%d is outside of %dx%d (%v)", x, y, v.width, v.height, v.err)
	}
	if got := v.pixels[y*v.width+x]; uint64(got) != want {
		return fmt.Errorf("%d,%d is #%06x, not %s (%v)", x, y, got, colour, v.err)
	}
	return nil
}

// hasSize says what is wrong with the size, WxH.
func (v *rfb) hasSize(want string) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if got := fmt.Sprintf("%dx%d", v.width, v.height); got != want {
		return fmt.Errorf("the size is %s, not %s (%v)", got, want, v.err)
	}
	return nil
}

// ended says that the connection is there still.
func (v *rfb) ended() error {
	select {
	case <-v.done:
		return nil
	default:
		return errors.New("the connection is there")
	}
}

// keyType types a text of Latin 1, \r being Enter.
func (v *rfb) keyType(text string) error {
	for _, c := range text {
		sym := uint32(c)
		if c == '\r' {
			sym = 0xff0d
		}
		for _, down := range []byte{1, 0} {
			if err := v.send(binary.BigEndian.AppendUint32([]byte{4, down, 0, 0}, sym)); err != nil {
				return err
			}
		}
	}
	return nil
}

// point moves the pointer with these buttons down.
func (v *rfb) point(x, y int, buttons byte) error {
	m := binary.BigEndian.AppendUint16([]byte{5, buttons}, uint16(x))
	return v.send(binary.BigEndian.AppendUint16(m, uint16(y)))
}
