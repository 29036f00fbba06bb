package wire_test

import (
	"bytes"
	"crypto/tls"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// A peer that claims what cannot be ends its stream with protocol_error.
func TestGatedEvil(t *testing.T) {
	u32 := binary.BigEndian.AppendUint32
	u64 := binary.BigEndian.AppendUint64
	says := func(b []byte) func(*testing.T, wire.Stream, *tls.Conn) {
		return func(_ *testing.T, _ wire.Stream, y *tls.Conn) { _, _ = y.Write(b) }
	}
	below := func(gate byte, more ...byte) func(*testing.T, wire.Stream, *tls.Conn) {
		return func(_ *testing.T, b wire.Stream, _ *tls.Conn) {
			go b.Write(append(append(make([]byte, 128<<10), gate), more...))
		}
	}
	piece := append(u32(nil, 64<<10), make([]byte, 64<<10)...)
	const ack = 0xfffffffe
	for name, evil := range map[string]func(*testing.T, wire.Stream, *tls.Conn){
		"more was read than sent":    says(u64(u64(u32(nil, ack), 1<<30), 1<<31)),
		"less than nothing":          says(u64(u64(u32(nil, ack), 1<<63), 1<<31)),
		"less may be sent":           says(u64(u64(u32(nil, ack), 0), 100)),
		"everything may be sent":     says(u64(u64(u32(nil, ack), 0), 1<<62)),
		"a long piece":               says(u32(nil, 64<<10+1)),
		"more than was allowed":      says(bytes.Repeat(piece, 5)),
		"more behind the end":        says(append(u32(nil, 0), piece...)),
		"two ends":                   says(u64(nil, 0)),
		"an unknown gate":            below(9),
		"back from where it was not": below(1, u64(nil, 1)...),
		"back from before all":       below(1, u64(nil, 1<<63)...),
	} {
		t.Run(name, func(t *testing.T) {
			a, b := wiretest.Streams()
			near, memory := wire.NewLaned(a, 0, nil), new(wire.LaneMemory)
			near.Gates(memory, nil)
			x, y := lanePair(t)
			near.Move(t.Context(), x)
			go near.Write(make([]byte, 200<<10))
			go io.Copy(io.Discard, b)
			go io.Copy(io.Discard, y)
			evil(t, b, y)
			if err := near.SetReadDeadline(time.Now().Add(20 * time.Second)); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, near); wire.CodeOf(err) != wire.Protocol {
				t.Errorf("%v", err)
			}
			near.Reset(wire.None)
			empties(t, memory)
		})
	}
}

// When all lanes hold what they may, there is no new one, and streams stay where they are.
func TestLaneMemory(t *testing.T) {
	memory := new(wire.LaneMemory)
	memory.Fill()
	a, b := wiretest.Streams()
	near, far := wire.NewLaned(a, 0, nil), wire.NewLaned(b, 0, nil)
	near.Gates(memory, nil)
	far.Gates(memory, nil)
	if !near.Full() {
		t.Error("there is room")
	}
	if err := wire.DialLane(t.Context(), nil, "", "", nil, near); wire.CodeOf(err) != wire.Busy {
		t.Errorf("a lane is dialled: %v", err)
	}
	x, y := lanePair(t)
	near.Move(t.Context(), x)
	far.Move(t.Context(), y)
	if c := memory.Count(); c.Refused != 4 || c.Open != 0 || c.Taken != 0 {
		t.Errorf("it counts %+v", c)
	}
	data := noise(1 << 20)
	go near.Write(data)
	got := make([]byte, len(data))
	if _, err := io.ReadFull(far, got); err != nil || !bytes.Equal(got, data) {
		t.Error("what stays below is not what was written", err)
	}
}
