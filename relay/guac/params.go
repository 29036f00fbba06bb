package guac

import (
	"strconv"
	"strings"
	"unicode/utf8"

	"scrier/wire"
)

// Params is what a connection is opened with, or joined.
type Params struct {
	Protocol            string            // "rdp", "vnc"; or to join, the id of a connection ("$...")
	Args                map[string]string // by guacd's names; see [RDP.Args] and [VNC.Args]
	Width, Height, DPI  int               // of the viewer's screen; 0: 1024 x 768, 96
	Audio, Video, Image []string          // mimetypes that the viewer understands; no Image: png, jpeg and webp
	Timezone            string            // IANA name, or empty
	Name                string            // of the viewer, for others who look on
	ReadOnly            bool              // of a join: no input is taken
}

// join says whether this is to join a connection that is open.
func (p Params) join() bool { return strings.HasPrefix(p.Protocol, "$") }

// check says what guacd's parser would refuse, before anything is sent.
func (p Params) check() error {
	if p.Protocol == "" || !sendable(p.Protocol) {
		return wire.Errorf(wire.BadRequest, "there is no such desktop protocol")
	}
	for name, value := range p.Args {
		if !sendable(value) {
			return wire.Errorf(wire.BadRequest, "the desktop's %s is too long or not text", name)
		}
	}
	for _, value := range append([]string{p.Timezone, p.Name}, append(append(append([]string(nil), p.Audio...), p.Video...), p.Image...)...) {
		if !sendable(value) {
			return wire.Errorf(wire.BadRequest, "%q is too long or not text", value[:min(len(value), 32)])
		}
	}
	return nil
}

// sendable says whether guacd reads all of s: its strings end at the first NUL.
func sendable(s string) bool {
	return len(s) <= maxParameter && utf8.ValidString(s) && !strings.ContainsRune(s, 0)
}

// maxParameter is the longest parameter, in bytes. All of `connect` must fit into the 32 KiB of
// guacd's parser.
const maxParameter = 4096

// maxConnect is the longest `connect`, in bytes.
const maxConnect = 24 << 10

// size is the screen in bounds: guacd makes 8192 of everything larger, RDP needs 200.
func (p Params) size() []string {
	clamp := func(n, missing, low, high int) string {
		if n <= 0 {
			n = missing
		}
		return strconv.Itoa(min(max(n, low), high))
	}
	return []string{
		clamp(p.Width, 1024, 200, maxScreen),
		clamp(p.Height, 768, 200, maxScreen),
		clamp(p.DPI, 96, 48, 960),
	}
}

// answer is everything that follows args: size to connect. asked are the names of the parameters,
// without the version.
func (p Params) answer(v version, asked []string) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	images := p.Image
	if len(images) == 0 {
		images = []string{"image/png", "image/jpeg", "image/webp"}
	}
	b := Append(nil, "size", p.size()...)
	b = Append(b, "audio", p.Audio...)
	b = Append(b, "video", p.Video...)
	b = Append(b, "image", images...)
	if v.atLeast(1, 1) && p.Timezone != "" {
		b = Append(b, "timezone", p.Timezone)
	}
	if v.atLeast(1, 3) && p.Name != "" {
		b = Append(b, "name", p.Name)
	}
	before := len(b)
	b = Append(b, "connect", p.values(v, asked)...)
	if len(b)-before > maxConnect {
		return nil, wire.Errorf(wire.BadRequest, "the desktop's parameters are too long together")
	}
	return b, nil
}

// values are the arguments of connect: one for each name that guacd asked for, in its order.
func (p Params) values(v version, asked []string) []string {
	var values []string
	if v.named() {
		values = append(values, v.String())
	}
	pinned := false
	for _, name := range asked {
		pinned = pinned || name == certFingerprints && p.Args[certFingerprints] != ""
	}
	for _, name := range asked {
		value := p.Args[name]
		switch {
		case name == "read-only" && p.ReadOnly:
			value = "true"
		case name == ignoreCert && pinned:
			value = "" // this guacd can pin the certificate, so it must not ignore it
		}
		values = append(values, value)
	}
	return values
}
