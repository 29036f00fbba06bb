package guac

import (
	"encoding/hex"
	"strconv"
	"strings"

	"scrier/wire"
)

// RDP is what an RDP connection needs.
type RDP struct {
	Hostname         string // where guacd calls the relay back
	Port             int
	Username, Domain string
	Password         wire.Secret
	Security         wire.Security // empty: any
	Certificate      []byte        // SHA-256 of the server's certificate (DER), as the agent saw it
	Keyboard         string        // one of [Keyboards], or empty
	Timezone         string        // IANA name, or empty
	DrivePath        string        // on guacd's host; empty: no drive
	Policy           Policy
}

// The two parameters about the server's certificate. guacd knows the second one from 1.6 on:
// "sha256:" and pairs of hexadecimal digits with colons between them, as FreeRDP's
// /cert:fingerprint has it. An older guacd can only ignore the certificate or look into a store of its
// own. It is told to ignore it, because guacd connects to the relay, and the tunnel behind it ends at
// an agent that has checked whose program listens there.
const (
	ignoreCert       = "ignore-cert"
	certFingerprints = "cert-fingerprints"
)

// Args are the connection's parameters, by guacd's names. Whatever is not here is left empty, in
// every version of guacd: recording, SFTP, Wake-on-LAN, printing, gateways, load balancing,
// remote applications, static channels (which are pipes to the viewer), sound and touch input,
// console. If guacd asks for cert-fingerprints and there are some, [Handshake] leaves ignore-cert
// empty.
func (r RDP) Args() map[string]string {
	args := map[string]string{
		"hostname": r.Hostname,
		"port":     strconv.Itoa(r.Port),
		username:   r.Username,
		password:   r.Password.Reveal(),
		domain:     r.Domain,
		"security": string(wire.AnySecurity),
		ignoreCert: "true",

		"client-name":   "Scrier", // Windows shows it; at most 15 characters
		"server-layout": r.Keyboard,
		"timezone":      r.Timezone,
		"resize-method": "display-update", // the desktop follows the page's size without a new login

		// 32 bits are what RDP compresses best. Letters are smooth and themes are shown; what
		// only moves (animations, dragging, Aero) costs bandwidth and stays off.
		"color-depth":           "32",
		"enable-font-smoothing": "true",
		"enable-theming":        "true",
		"enable-wallpaper":      "true",
	}
	if r.Security != "" {
		args["security"] = string(r.Security)
	}
	if len(r.Certificate) > 0 {
		args[certFingerprints] = fingerprint(r.Certificate)
	}
	if r.DrivePath != "" && r.Policy.files() && !r.Policy.View {
		args["enable-drive"] = "true"
		args["drive-name"] = "Scrier"
		args["drive-path"] = r.DrivePath
		args["create-drive-path"] = "true"
	}
	deny(args, "disable-upload", !r.Policy.Upload)
	deny(args, "disable-download", !r.Policy.Download)
	deny(args, "disable-audio", !r.Policy.Audio)
	r.Policy.args(args)
	return args
}

// args sets what RDP and VNC have in common. The relay enforces the same rules itself; with these
// parameters guacd does not offer what the relay would refuse.
func (p Policy) args(args map[string]string) {
	deny(args, "disable-copy", !p.FromEnvoy)
	deny(args, "disable-paste", !p.ToEnvoy || p.View)
	deny(args, "read-only", p.View)
}

func deny(args map[string]string, name string, denied bool) {
	if denied {
		args[name] = "true"
	}
}

// fingerprint is a hash as FreeRDP writes it.
func fingerprint(sha256 []byte) string {
	var b strings.Builder
	b.WriteString("sha256")
	for n := range sha256 {
		b.WriteByte(':')
		b.WriteString(hex.EncodeToString(sha256[n : n+1]))
	}
	return b.String()
}
