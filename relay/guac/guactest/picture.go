package guactest

import (
	"bytes"
	"strconv"
	"strings"
	"time"

	"scrier/relay/guac"
)

// pixel is a PNG of one white pixel.
const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGP4DwABAQEANl9ngAAAAABJRU5ErkJggg=="

// Picture is the instructions of a whole small picture: a screen of this size, a grey one, with
// a white pixel in its corner, and a cursor.
func Picture(width, height string) []byte {
	b := guac.Append(nil, "size", "0", width, height)
	b = guac.Append(b, "name", "guactest")
	b = guac.Append(b, "rect", "0", "0", "0", width, height)
	b = guac.Append(b, "cfill", "14", "0", "128", "128", "128", "255")
	b = guac.Append(b, "size", "-1", "1", "1")
	b = guac.Append(b, "img", "1", "14", "-1", "image/png", "0", "0")
	b = guac.Append(b, "blob", "1", pixel)
	b = guac.Append(b, "end", "1")
	b = guac.Append(b, "copy", "-1", "0", "0", "1", "1", "14", "0", "0", "0")
	b = guac.Append(b, "cursor", "0", "0", "-1", "0", "0", "1", "1")
	return append(b, flush()...)
}

func flush() []byte {
	return guac.Append(nil, "sync", strconv.FormatInt(time.Now().UnixMilli(), 10), "1")
}

// live is everything after ready.
func (c *call) live() {
	defer c.leave()
	done := make(chan struct{})
	if c.behave != HangsAfterReady && c.behave != Freezes && c.behave != Freezes10 {
		c.s.calls.Go(func() { c.ticking(done) })
	}
	defer close(done)
	if !c.misbehave() {
		return
	}
	for i := c.next(); i != nil; i = c.next() {
		if c.onDrive(i) {
			continue
		}
		switch i[0] {
		case "disconnect":
			c.say("disconnect")
			return
		case "size":
			if c.desk.follows && c.heard.Params["read-only"] != "true" && len(i) == 3 {
				c.s.note(func() { c.desk.size = [2]string{i[1], i[2]} })
				c.write(c.picture())
			}
		case "argv":
			c.argv(i)
		case "put": // one for the file, and then one for each blob
			c.say("ack", i[2], "OK (STREAM BEGIN)", "0")
		case "clipboard":
			c.say("ack", i[1], "OK", "0")
		case "blob":
			c.say("ack", i[1], "OK (DATA RECEIVED)", "0")
		case "get":
			c.say("body", i[1], "0", "application/vnd.glyptodon.guacamole.stream-index+json", i[2])
			c.say("blob", "0", "e30=")
			c.say("end", "0")
		case "end":
			if c.behave == Asks {
				c.write(c.picture())
			}
		}
	}
}

// argv takes what guacd has asked for, and nothing else.
func (c *call) argv(i []string) {
	if c.behave == Asks && i[len(i)-1] == "password" {
		c.say("ack", i[1], "Ready for updated parameter.", "0")
		return
	}
	c.say("ack", i[1], "Not allowed.", "771")
}

// picture is the whole desktop.
func (c *call) picture() []byte {
	var size [2]string
	c.s.note(func() { size = c.desk.size })
	return Picture(size[0], size[1])
}

// misbehave draws the picture and does what the behaviour is about. False is the end.
func (c *call) misbehave() bool {
	picture := c.picture()
	switch c.behave {
	case NotFound:
		return c.say("error", "Aborted. See logs.", "519")
	case Unauthorized:
		return c.say("error", "Authentication failure (invalid credentials?)", "769")
	case WrongSecurity:
		return c.say("error", "Security negotiation failed (wrong security type?)", "769")
	case UpstreamTimeout:
		return c.say("error", "Aborted. See logs.", "514")
	case LogsOff:
		return c.write(picture) && c.say("error", "Logged off.", "523") && c.say("disconnect") && false
	case Elsewhere:
		return c.write(picture) && c.say("error", "Disconnected by other connection.", "521") && c.say("disconnect") && false
	case Loses:
		return true
	case UnavailableAtOnce:
		return c.say("error", "Server refused connection.", "520") && c.say("disconnect") && false
	case HangsAfterReady:
		c.listen()
		return false
	case Freezes, Freezes10:
		c.write(picture)
		c.listen()
		return false
	case IgnoresInput:
		c.write(picture)
		<-c.s.ctx.Done()
		return false
	case Floods:
		c.s.calls.Go(c.listen)
		return c.forever(picture)
	case EndlessDigits:
		return c.forever([]byte(strings.Repeat("9", 4096)))
	case HugeInstruction:
		return c.write([]byte("4.blob,1.1,10000000.")) && c.write([]byte(strings.Repeat("A", 10_000_000))) && c.write([]byte(";"))
	case BadUTF8:
		return c.write(picture) && c.write([]byte("4.name,2.\xc3\x28;"))
	case NegativeLength:
		return c.write(picture) && c.write([]byte("4.name,-1.;"))
	case LongElement:
		return c.write(picture) && c.write([]byte("4.name,99999.")) && c.forever([]byte(strings.Repeat("A", 4096)))
	case WrongTerminator:
		return c.write(picture) && c.write([]byte("4.name:1.a;"))
	case BreaksOff:
		return c.write(picture) && c.write([]byte("4.name,10.abc")) && false
	case ManyStreams:
		for n := range 1000 {
			c.say("img", strconv.Itoa(n), "14", "0", "image/png", "0", "0")
		}
		return c.write(picture)
	case HugeLayer:
		return c.say("size", "0", "60000", "60000") && c.write(picture)
	case ManyLayers:
		for n := 1; n <= 100_000; n++ {
			if !c.say("size", strconv.Itoa(-n), "1", "1") {
				return false
			}
		}
		return c.write(picture)
	case HugePicture:
		return c.say("copy", "0", "0", "0", "30000", "30000", "14", "-1", "30000", "30000") && c.write(picture)
	case Forbidden:
		return c.write(forbidden()) && c.write(picture)
	case PushesClipboard:
		return c.say("clipboard", "3", "text/plain") && c.say("blob", "3", "c2VjcmV0") && c.say("end", "3") && c.write(picture)
	case SendsFile:
		return c.say("filesystem", "0", "Shared Drive") && c.say("file", "5", "application/octet-stream", "secret.txt") &&
			c.say("blob", "5", "c2VjcmV0") && c.say("end", "5") && c.write(picture)
	case PlaysAudio:
		return c.say("audio", "7", "audio/L16;rate=44100,channels=2") && c.say("blob", "7", "AAAA") && c.write(picture)
	case Asks: // its first user alone
		return strings.HasPrefix(c.heard.Protocol, "$") || c.say("required", "password")
	case AsksOddly:
		return c.say("required", "hostname")
	case Disconnects:
		return c.write(picture) && c.say("disconnect") && false
	case LosesBeginning:
		if !strings.HasPrefix(c.heard.Protocol, "$") {
			_, picture, _ = bytes.Cut(picture, []byte(";"))
		}
	case ReadyTwice:
		return c.write(picture) && c.say("ready", c.desk.id)
	}
	return c.write(picture)
}

func (c *call) forever(b []byte) bool {
	for c.write(b) {
	}
	return false
}

// forbidden is what no viewer may see, with some of each stream.
func forbidden() []byte {
	var b []byte
	for n, opcode := range []string{"pipe", "argv", "video"} {
		index := strconv.Itoa(20 + n)
		b = guac.Append(b, opcode, index, "text/plain", "name")
		b = guac.Append(b, "blob", index, "c2VjcmV0")
		b = guac.Append(b, "end", index)
	}
	b = guac.Append(b, "nest", "0", "4.name,6.secret;")
	b = guac.Append(b, "png", "14", "0", "0", "0", pixel)
	b = guac.Append(b, "constructor", "secret")
	b = guac.Append(b, "__proto__", "secret")
	b = guac.Append(b, "set", "0", "constructor", "secret")
	b = guac.Append(b, "select", "vnc")
	return guac.Append(b, "log", "secret")
}
