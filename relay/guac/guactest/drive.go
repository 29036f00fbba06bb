package guactest

import (
	"encoding/base64"
	"encoding/json"
	"maps"
	"strconv"
	"strings"
	"sync"
)

// drive is what the first user of a desktop is shown, as guacd does it for RDP: each put, blob and end is
// acknowledged, and a blob of a file is sent for each acknowledgement.
type drive struct {
	mu    sync.Mutex
	files map[string][]byte
	up    map[string]string // paths, by streams from the user
	down  map[string][]byte // what is to be sent yet, by streams to the user
	next  int               // the next of those, halved
}

const (
	folderType = "application/vnd.glyptodon.guacamole.stream-index+json"
	chunk      = 4096 // bytes
)

// Files is what lies on the drive of a desktop.
func (s *Server) Files(id string) map[string][]byte {
	d := s.drive(id)
	if d == nil {
		return nil
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return maps.Clone(d.files)
}

// drive is a desktop's, or nil.
func (s *Server) drive(id string) *drive {
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.desktops[id]; d != nil {
		return d.drive
	}
	return nil
}

// showDrive shows the drive to the first user, if the behaviour has one: before anything is dialled.
func (c *call) showDrive() {
	lost := c.behave == LosesDrive && strings.TrimLeft(c.desk.id[:9], "$0") < "3"
	if c.behave == SharesDrive || c.behave == LosesDrive && !lost {
		c.s.note(func() {
			c.desk.drive = &drive{files: map[string][]byte{}, up: map[string]string{}, down: map[string][]byte{}}
		})
		c.say("filesystem", "2", "Shared Drive")
	}
}

// Offer has guacd offer a file of the desktop's, as when one is put into the folder Download there.
func (s *Server) Offer(id, name string, content []byte) {
	d := s.drive(id)
	d.mu.Lock()
	defer d.mu.Unlock()
	s.owner(id).offer(d, "file", nil, content, "application/octet-stream", name)
}

// Say has guacd say something to a desktop's first user.
func (s *Server) Say(id string, b []byte) { s.owner(id).write(b) }

// owner is a desktop's first user.
func (s *Server) owner(id string) (owner *call) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.desktops[id].users {
		if !strings.HasPrefix(c.heard.Protocol, "$") {
			owner = c
		}
	}
	return owner
}

// offer opens a stream to the user.
func (c *call) offer(d *drive, opcode string, before []string, content []byte, after ...string) {
	index := strconv.Itoa(2 * d.next) // guacd's own streams of one user have even numbers
	d.next = (d.next + 1) % 64
	d.down[index] = content
	c.say(opcode, append(append(before, index), after...)...)
}

// onDrive does what an instruction of the first user's means for the drive.
func (c *call) onDrive(i []string) bool {
	if strings.HasPrefix(c.heard.Protocol, "$") {
		return false // it has joined, and was shown none
	}
	d := c.desk.drive
	if d == nil {
		return false
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case i[0] == "put" && len(i) == 5 && i[1] == "2":
		d.up[i[2]], d.files[i[4]] = i[4], []byte{}
		c.say("ack", i[2], "OK (STREAM BEGIN)", "0")
	case i[0] == "blob" && len(i) == 3 && d.up[i[1]] != "":
		b, err := base64.StdEncoding.DecodeString(i[2])
		if err != nil {
			c.say("ack", i[1], "FAIL (BAD WRITE)", "771")
			return true
		}
		path := d.up[i[1]]
		d.files[path] = append(d.files[path], b...)
		c.say("ack", i[1], "OK (DATA RECEIVED)", "0")
	case i[0] == "end" && len(i) == 2 && d.up[i[1]] != "":
		delete(d.up, i[1])
		c.say("ack", i[1], "OK (STREAM END)", "0")
	case i[0] == "get" && len(i) == 3 && i[1] == "2":
		content, ok := d.files[i[2]]
		kind := "application/octet-stream"
		if i[2] == "/" {
			names := map[string]string{}
			for path := range d.files {
				names[path] = kind
			}
			content, _ = json.Marshal(names) // strings always are JSON
			kind, ok = folderType, true
		}
		if ok {
			c.offer(d, "body", []string{"2"}, content, kind, i[2])
		}
	case i[0] == "ack" && len(i) == 4:
		rest, ok := d.down[i[1]]
		switch {
		case !ok:
		case i[3] != "0":
			delete(d.down, i[1])
		case len(rest) == 0:
			delete(d.down, i[1])
			c.say("end", i[1])
		default:
			n := min(chunk, len(rest))
			d.down[i[1]] = rest[n:]
			c.say("blob", i[1], base64.StdEncoding.EncodeToString(rest[:n]))
		}
	default:
		return false
	}
	return true
}
