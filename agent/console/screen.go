package console

import (
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// kind says by which server a screen can be shown.
type kind int

const (
	x11     kind = iota // x11vnc
	wlroots             // wayvnc; it is also tried with compositors that are not known
	gnome               // by its own server only
	kde
)

// screen is a user's graphical session.
type screen struct {
	person
	kind   kind
	locked bool

	display, authority string // X11, or XWayland beside a Wayland screen; empty if there is none
	wayland            string // the path of the compositor's socket
	runtime            string // XDG_RUNTIME_DIR
}

// env is the environment of a program on this screen.
func (c *Console) screenEnv(s *screen) []string {
	env := c.env(s.person)
	if s.kind != x11 {
		// An absolute path: a program finds the socket by it even if its XDG_RUNTIME_DIR is another.
		env = append(env, "XDG_RUNTIME_DIR="+s.runtime, "WAYLAND_DISPLAY="+s.wayland, "XDG_SESSION_TYPE=wayland")
	} else if s.runtime != "" {
		env = append(env, "XDG_RUNTIME_DIR="+s.runtime)
	}
	return append(env, xEnv(s)...)
}

// xEnv are the variables by which X11 programs find the screen.
func xEnv(s *screen) (env []string) {
	if s.display != "" {
		env = append(env, "DISPLAY="+s.display)
	}
	if s.authority != "" {
		env = append(env, "XAUTHORITY="+s.authority)
	}
	return env
}

// compositor is the kind of a Wayland screen by its processes.
func compositor(of []process) kind {
	for _, p := range of {
		switch p.name {
		case "gnome-shell":
			return gnome
		case "kwin_wayland":
			return kde
		}
	}
	return wlroots
}

// lockers are programs that run only while a screen is locked. light-locker, xscreensaver and
// gnome-screensaver are not among them: they run all the time.
var lockers = []string{
	"i3lock", "swaylock", "gtklock", "hyprlock", "waylock", "slock", "sxlock", "xlock", "xtrlock", "xsecurelock", "physlock", "vlock",
	"gnome-screensaver-dialog", "mate-screensaver-dialog", "xfce4-screensaver-dialog", "kscreenlocker_greet",
}

func hasLocker(of []process) bool {
	return slices.ContainsFunc(of, func(p process) bool { return slices.Contains(lockers, p.name) })
}

// waylandSocket is the path of a compositor's socket, if it is there and its user's.
func waylandSocket(uid uint32, runtime, name string) string {
	if runtime == "" || name == "" {
		return ""
	}
	full := filepath.Join(runtime, name)
	i, err := os.Lstat(full)
	if err != nil || i.Mode().Type() != os.ModeSocket || !path(full) {
		return ""
	}
	if st, ok := i.Sys().(*syscall.Stat_t); !ok || st.Uid != uid {
		return ""
	}
	return full
}
