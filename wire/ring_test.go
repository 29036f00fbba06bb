package wire

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// What is held is what was added, at its numbers, however it was added, copied and released, and never more than may be.
func TestRing(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var k Ring
	if k.Space() != nil || k.Add([]byte("x")) != 0 || k.Room() != 0 {
		t.Error("it holds something before it may")
	}
	k.Most = 5000
	var all []byte
	for i := range 20_000 {
		switch random.IntN(4) {
		case 0:
			p := make([]byte, random.IntN(3000))
			for i := range p {
				p[i] = byte(random.Uint32())
			}
			all = append(all, p[:k.Add(p)]...)
		case 1:
			if space := k.Space(); len(space) > 0 {
				n := random.IntN(len(space) + 1)
				for i := range n {
					space[i] = byte(i * 7)
				}
				k.Came(n)
				all = append(all, space[:n]...)
			}
		case 2:
			k.Release(k.Base() + uint64(random.IntN(2000)))
		case 3:
			if i%100 == 0 && k.Most < 60_000 {
				k.Most += 1000
			}
		}
		if k.Head() != uint64(len(all)) || k.Len() > k.Most || k.Len()+k.Room() != k.Most || len(k.buf) > k.Most {
			t.Fatalf("byte %d is next of %d, %d are held, %d may be, in %d", k.Head(), len(all), k.Len(), k.Most, len(k.buf))
		}
		from := k.Base() + uint64(random.IntN(k.Len()+1))
		p := make([]byte, random.IntN(4000))
		if n := k.Copy(p, from); n != min(len(p), int(k.Head()-from)) || !bytes.Equal(p[:n], all[from:int(from)+n]) {
			t.Fatalf("%d bytes from %d are not those that were added", n, from)
		}
	}
	k.Release(k.Head() + 10)
	if k.Len() != 0 || k.Next(k.Base()) != nil || k.Next(0) != nil {
		t.Error("what was released is held")
	}
}
