package sftp_test

import (
	"bytes"
	"encoding/binary"
	"io"
	"testing"
	"time"

	"scrier/relay/sftp"
)

// FuzzClient: whatever a client sends, the server gets whole packets that the rights allow, and Pass ends.
func FuzzClient(f *testing.F) {
	init := packet(1, 3)
	for _, b := range [][]byte{
		packet(3, 1, "/f", 1, 0), packet(3, 1, "/f", 26, 0), packet(6, 2, "h1", uint64(0), "data"), packet(5, 2, "h1", uint64(0), 10),
		packet(18, 3, "/a", "/b"), packet(200, 4, "copy-data", "h1", uint64(0), uint64(0), "h1", uint64(9)), packet(9, 5, "/f", 15, uint64(1), 0, 0, 0o644, 1, 1),
		packet(200, 4, "limits@openssh.com"), packet(4, 9, "h1"), packet(99, 1),
	} {
		f.Add(append(append(init[:9:9], packet(3, 1, "/f", 3, 0)...), b...), byte(3))
		f.Add(append(init[:9:9], b...), byte(1))
		f.Add(append(init[:9:9], b...), byte(2))
	}
	f.Fuzz(func(t *testing.T, sent []byte, rights byte) {
		r := sftp.Rights{Upload: rights&1 != 0, Download: rights&2 != 0}
		near, far := pair(t)
		p := pass(t, r, far)
		served := make(chan struct{})
		go func() {
			defer close(served)
			defer near.Close()
			serve(t, near, r)
		}()
		go func() {
			_, _ = p.client.Write(sent)
			_ = p.client.CloseWrite()
		}()
		if err := p.client.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := readPacket(p.client); err != nil {
				break
			}
		}
		p.client.Close()
		p.end()
		<-served
	})
}

// serve is a server that opens everything, and looks whether it may.
func serve(t *testing.T, c io.ReadWriter, r sftp.Rights) {
	handles := 0
	for {
		b, err := readPacket(c)
		if err != nil {
			return
		}
		kind, body := b[4], b[5:]
		if kind == 1 {
			_, _ = c.Write(packet(2, 3))
			continue
		}
		if len(body) < 4 {
			t.Errorf("the server got %q", b)
			return
		}
		id := int(binary.BigEndian.Uint32(body))
		answer := packet(101, id, 0, "", "")
		var reads, writes bool
		switch kind {
		case 3:
			n := binary.BigEndian.Uint32(body[4:])
			flags := binary.BigEndian.Uint32(body[8+n:])
			reads, writes = flags&1 != 0 || flags&2 == 0, flags&^1 != 0
			handles++
			answer = packet(102, id, "h"+string(rune('0'+handles%10))+string(make([]byte, min(handles/10, 200))))
		case 5:
			reads = true
			answer = packet(103, id, "")
		case 6, 9, 10, 13, 14, 15, 18, 20:
			writes = true
		case 200:
			writes = bytes.Contains(body, []byte("rename")) || bytes.Contains(body, []byte("link")) || bytes.HasPrefix(body[8:], []byte("copy-data"))
		}
		if reads && !r.Download || writes && !r.Upload || !r.Upload && !r.Download {
			t.Errorf("with %v the server got %q", r, b)
			return
		}
		if _, err := c.Write(answer); err != nil {
			return
		}
	}
}

// FuzzServer: whatever a server sends, the client gets whole packets that answer what it asked, each once, and Pass ends.
func FuzzServer(f *testing.F) {
	for _, b := range [][]byte{
		packet(105, 1, 0), packet(102, 2, "h"), packet(104, 3, 1, "n", "l", 0), packet(201, 4, uint64(1), uint64(0), uint64(1<<60), uint64(7)), packet(101, 1, 2, "no", "en"),
		packet(103, 5, "data"), packet(101, 5, 1, "", ""),
	} {
		f.Add(append(packet(2, 3, "posix-rename@openssh.com", "1"), b...))
	}
	f.Add([]byte("Last login: today\r\n"))
	f.Fuzz(func(t *testing.T, sent []byte) {
		near, far := pair(t)
		p := pass(t, both, far)
		asked := map[uint32]bool{1: true, 2: true, 3: true, 4: true}
		for _, b := range [][]byte{packet(1, 3), packet(17, 1, "/"), packet(3, 2, "/f", 1, 0), packet(16, 3, "."), packet(200, 4, "limits@openssh.com")} {
			if _, err := p.client.Write(b); err != nil {
				return
			}
		}
		_ = p.client.CloseWrite()
		go func() {
			want := make([]byte, len(packet(1, 3))+len(packet(17, 1, "/"))+len(packet(3, 2, "/f", 1, 0))+len(packet(16, 3, "."))+len(packet(200, 4, "limits@openssh.com")))
			_, _ = io.ReadFull(near, want)
			_, _ = near.Write(sent)
			near.Close()
		}()
		if err := p.client.SetReadDeadline(time.Now().Add(patience)); err != nil {
			t.Fatal(err)
		}
		for first := true; ; first = false {
			b, err := readPacket(p.client)
			if err != nil {
				break
			}
			if first {
				if b[4] != 2 {
					t.Fatalf("the client got %q first", b)
				}
				continue
			}
			id := binary.BigEndian.Uint32(b[5:])
			if !asked[id] {
				t.Fatalf("the client got %q, for which it did not ask", b)
			}
			delete(asked, id)
		}
		p.client.Close()
		p.end()
	})
}
