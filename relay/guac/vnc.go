package guac

import (
	"strconv"

	"scrier/wire"
)

// VNC is what a VNC connection needs.
type VNC struct {
	Hostname string // where guacd calls the relay back
	Port     int
	Username string
	Password wire.Secret
	Policy   Policy
}

// Args are the connection's parameters, by guacd's names. Whatever is not here is left empty, in
// every version of guacd: repeaters (dest-host, dest-port), reverse connections, retries (the
// relay's listener takes one connection), the host's own sound (PulseAudio), SFTP, recording,
// Wake-on-LAN, encodings. The pointer is drawn in the page, which is the default. guacd 1.6 would make
// the server's screen as large as the viewer's; it is somebody's, or others look at it too, so it stays.
func (v VNC) Args() map[string]string {
	args := map[string]string{
		"hostname":           v.Hostname,
		"port":               strconv.Itoa(v.Port),
		username:             v.Username,
		password:             v.Password.Reveal(),
		"color-depth":        "24",
		"clipboard-encoding": "ISO8859-1", // the only one that the VNC protocol has

		"disable-display-resize": "true",
	}
	v.Policy.args(args)
	return args
}
