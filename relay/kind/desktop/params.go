package desktop

import (
	"scrier/relay/guac"
	"scrier/wire"
)

// Sizes in pixels, and their default.
const (
	minSide, maxSide         = 64, 8192
	defaultWidth             = 1024
	defaultHeight            = 768
	minDPI, maxDPI, usualDPI = 48, 480, 96
)

// params is what guacd is told of a new desktop; the port is the callback's.
func (d *Desktop) params(port int) guac.Params {
	d.Width, d.Height = side(d.Width, defaultWidth), side(d.Height, defaultHeight)
	if d.DPI == 0 {
		d.DPI = usualDPI
	}
	d.DPI = min(max(d.DPI, minDPI), maxDPI)
	p := guac.Params{
		Protocol: string(d.Kind), Width: d.Width, Height: d.Height, DPI: d.DPI, Timezone: d.Timezone, Audio: d.audio(), Image: images(),
	}
	if d.Kind == wire.KindRDP {
		p.Args = guac.RDP{
			Hostname: d.Hostname, Port: port, Username: d.Username, Domain: d.Domain, Password: d.Password, Security: d.Security,
			Certificate: d.Certificate, Keyboard: d.Keyboard, Timezone: d.Timezone, DrivePath: d.DrivePath, Policy: d.Policy,
		}.Args()
	} else {
		p.Args = guac.VNC{Hostname: d.Hostname, Port: port, Username: d.Username, Password: d.Password, Policy: d.Policy}.Args()
	}
	return p
}

func side(n, usual int) int {
	if n == 0 {
		n = usual
	}
	return min(max(n, minSide), maxSide)
}

// images are the kinds that every browser shows.
func images() []string { return []string{"image/jpeg", "image/png", "image/webp"} }

// audio is what the page plays: raw samples.
func (d *Desktop) audio() []string {
	if !d.Policy.Audio {
		return nil
	}
	return []string{"audio/L8", "audio/L16"}
}
