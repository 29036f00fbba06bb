package guactest

// What guacd asks for, in its order: 1.3.0 as Debian 11 built it, 1.6.0 with all that it can be built
// with. 1.6.1 will ask for the same.

func names(behave Behaviour, protocol string) []string {
	old := behave == Version13 || behave == Unavailable13
	switch {
	case behave == Version10 || behave == Freezes10:
		return []string{"hostname", "port", "read-only", "encodings", "username", "password", "color-depth", "cursor"}
	case old && protocol == "rdp":
		return append([]string{"VERSION_1_3_0"}, RDP13()...)
	case old:
		return append([]string{"VERSION_1_3_0"}, VNC13()...)
	case behave == UnknownVersion:
		return append([]string{"VERSION_9_9_9"}, VNC16()...)
	case behave == OddVersion:
		return append([]string{"VERSION_one"}, VNC16()...)
	case protocol == "rdp":
		return append([]string{"VERSION_1_5_0"}, RDP16()...)
	}
	return append([]string{"VERSION_1_5_0"}, VNC16()...)
}

// VNC13 is what guacd 1.3.0 asks for of VNC.
func VNC13() []string {
	return []string{
		"hostname", "port", "read-only", "encodings", "username", "password", "swap-red-blue",
		"color-depth", "cursor", "autoretry", "clipboard-encoding", "dest-host", "dest-port",
		"enable-audio", "audio-servername", "reverse-connect", "listen-timeout", "enable-sftp",
		"sftp-hostname", "sftp-host-key", "sftp-port", "sftp-username", "sftp-password",
		"sftp-private-key", "sftp-passphrase", "sftp-directory", "sftp-root-directory",
		"sftp-server-alive-interval", "sftp-disable-download", "sftp-disable-upload",
		"recording-path", "recording-name", "recording-exclude-output",
		"recording-exclude-mouse", "recording-include-keys", "create-recording-path",
		"disable-copy", "disable-paste", "wol-send-packet", "wol-mac-addr",
		"wol-broadcast-addr", "wol-wait-time",
	}
}

// RDP13 is what guacd 1.3.0 asks for of RDP.
func RDP13() []string {
	return []string{
		"hostname", "port", "domain", "username", "password", "width", "height", "dpi",
		"initial-program", "color-depth", "disable-audio", "enable-printing", "printer-name",
		"enable-drive", "drive-name", "drive-path", "create-drive-path", "disable-download",
		"disable-upload", "console", "console-audio", "server-layout", "security",
		"ignore-cert", "disable-auth", "remote-app", "remote-app-dir", "remote-app-args",
		"static-channels", "client-name", "enable-wallpaper", "enable-theming",
		"enable-font-smoothing", "enable-full-window-drag", "enable-desktop-composition",
		"enable-menu-animations", "disable-bitmap-caching", "disable-offscreen-caching",
		"disable-glyph-caching", "preconnection-id", "preconnection-blob", "timezone",
		"enable-sftp", "sftp-hostname", "sftp-host-key", "sftp-port", "sftp-username",
		"sftp-password", "sftp-private-key", "sftp-passphrase", "sftp-directory",
		"sftp-root-directory", "sftp-server-alive-interval", "sftp-disable-download",
		"sftp-disable-upload", "recording-path", "recording-name", "recording-exclude-output",
		"recording-exclude-mouse", "recording-include-keys", "create-recording-path",
		"resize-method", "enable-audio-input", "read-only", "gateway-hostname",
		"gateway-port", "gateway-domain", "gateway-username", "gateway-password",
		"load-balance-info", "disable-copy", "disable-paste", "wol-send-packet",
		"wol-mac-addr", "wol-broadcast-addr", "wol-wait-time",
	}
}

// VNC16 is what guacd 1.6.0 asks for of VNC.
func VNC16() []string {
	return []string{
		"hostname", "port", "read-only", "disable-display-resize", "encodings", "username",
		"password", "swap-red-blue", "color-depth", "cursor", "autoretry",
		"clipboard-encoding", "dest-host", "dest-port", "enable-audio", "audio-servername",
		"reverse-connect", "listen-timeout", "enable-sftp", "sftp-hostname", "sftp-host-key",
		"sftp-port", "sftp-timeout", "sftp-username", "sftp-password", "sftp-private-key",
		"sftp-passphrase", "sftp-public-key", "sftp-directory", "sftp-root-directory",
		"sftp-server-alive-interval", "sftp-disable-download", "sftp-disable-upload",
		"recording-path", "recording-name", "recording-exclude-output",
		"recording-exclude-mouse", "recording-include-keys", "create-recording-path",
		"recording-write-existing", "disable-copy", "disable-paste", "disable-server-input",
		"wol-send-packet", "wol-mac-addr", "wol-broadcast-addr",
		"wol-udp-port", "wol-wait-time", "force-lossless", "compress-level", "quality-level",
	}
}

// RDP16 is what guacd 1.6.0 asks for of RDP.
func RDP16() []string {
	return []string{
		"hostname", "port", "timeout", "domain", "username", "password", "width", "height",
		"dpi", "initial-program", "color-depth", "disable-audio", "enable-printing",
		"printer-name", "enable-drive", "drive-name", "drive-path", "create-drive-path",
		"disable-download", "disable-upload", "console", "console-audio", "server-layout",
		"security", "ignore-cert", "cert-tofu", "cert-fingerprints", "disable-auth",
		"remote-app", "remote-app-dir", "remote-app-args", "static-channels", "client-name",
		"enable-wallpaper", "enable-theming", "enable-font-smoothing",
		"enable-full-window-drag", "enable-desktop-composition", "enable-menu-animations",
		"disable-bitmap-caching", "disable-offscreen-caching", "disable-glyph-caching",
		"disable-gfx", "preconnection-id", "preconnection-blob", "timezone", "enable-sftp",
		"sftp-hostname", "sftp-host-key", "sftp-port", "sftp-timeout", "sftp-username",
		"sftp-password", "sftp-private-key", "sftp-passphrase", "sftp-public-key",
		"sftp-directory", "sftp-root-directory", "sftp-server-alive-interval",
		"sftp-disable-download", "sftp-disable-upload", "recording-path", "recording-name",
		"recording-exclude-output", "recording-exclude-mouse", "recording-exclude-touch",
		"recording-include-keys", "create-recording-path", "recording-write-existing",
		"resize-method", "enable-audio-input", "enable-touch", "read-only",
		"gateway-hostname", "gateway-port", "gateway-domain", "gateway-username",
		"gateway-password", "load-balance-info", "disable-copy", "disable-paste",
		"wol-send-packet", "wol-mac-addr", "wol-broadcast-addr",
		"wol-udp-port", "wol-wait-time", "force-lossless", "normalize-clipboard",
	}
}
