package console

import (
	"image/color"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"scrier/wire"
)

var background = color.RGBA{0x20, 0x60, 0xa0, 255}

// sway is a user's Wayland screen without hardware. The test moves the pointer by a VNC server of its
// own, hand, because there is no other way.
type sway struct {
	*user
	env  []string
	hand *rfb
}

func (u *user) sway() *sway {
	u.t.Helper()
	runtime := filepath.Join(u.dir, "run")
	must(u.t, os.Mkdir(runtime, 0o700))
	u.own(runtime)
	conf := filepath.Join(u.dir, "sway.conf")
	must(u.t, os.WriteFile(conf, []byte("output HEADLESS-1 mode 1280x720\noutput HEADLESS-1 bg #2060a0 solid_color\nxwayland disable\nexec sleep 3600\n"), 0o644))
	s := &sway{user: u, env: []string{"XDG_RUNTIME_DIR=" + runtime}}
	u.start(append(s.env, "WLR_BACKENDS=headless", "WLR_LIBINPUT_NO_DEVICES=1", "WLR_RENDERER=pixman"), "sway", "-c", conf)
	socket := ""
	eventually(u.t, "sway", func() bool {
		found, _ := filepath.Glob(filepath.Join(runtime, "wayland-?"))
		if len(found) == 1 {
			socket = found[0]
		}
		return len(found) == 1 && len(u.pids("sleep")) == 1
	})
	s.env = append(s.env, "WAYLAND_DISPLAY="+filepath.Base(socket))
	config := filepath.Join(u.dir, "wayvnc")
	must(u.t, os.WriteFile(config, []byte(wayvncConfig), 0o644))
	address := filepath.Join(u.dir, "hand")
	u.start(s.env, "wayvnc", "-C", config, "-u", address)
	var conn net.Conn
	eventually(u.t, "the hand", func() (ok bool) {
		var err error
		conn, err = net.Dial("unix", address)
		return err == nil
	})
	u.t.Cleanup(func() { conn.Close() })
	s.hand = newRFB(u.t, &Share{Conn: conn.(*net.UnixConn)})
	s.hand.sees(640, 500, background)
	return s
}

// bar waits for swaynag's bar and returns where its buttons are, from the right.
func (s *sway) bar() (buttons []int) {
	s.t.Helper()
	eventually(s.t, "swaynag's bar", func() bool {
		buttons = s.bars()
		return len(buttons) > 0
	})
	return buttons
}

// bars is bar without waiting. It goes along a line through the buttons' upper part, above their
// text: their borders and insides are of other colours than the bar.
func (s *sway) bars() (buttons []int) {
	s.t.Helper()
	s.hand.update()
	if s.hand.at(1000, 3) == background {
		return nil
	}
	const y = 6
	bar := s.hand.at(1140, y)
	for x := 1279; x > 900; x-- {
		if s.hand.at(x, y) == bar {
			continue
		}
		right := x
		for x > 900 && s.hand.at(x, y) != bar {
			x--
		}
		if right-x > 20 {
			buttons = append(buttons, (right+x)/2)
		}
	}
	return buttons
}

// click presses a button of the bar, counted from the right.
func (s *sway) click(n int) {
	s.t.Helper()
	this := s.pids("swaynag")
	eventually(s.t, "the end of the bar", func() bool {
		if !slices.Equal(s.pids("swaynag"), this) { // none, or the next one
			return true
		}
		if buttons := s.bars(); n < len(buttons) {
			s.hand.pointer(0, 640, 400) // the pointer may be there already, over a bar that has gone
			s.hand.update()
			s.hand.pointer(0, buttons[n], 14)
			s.hand.update()
			s.hand.pointer(1, buttons[n], 14)
			s.hand.pointer(0, buttons[n], 14)
			s.hand.update()
		}
		return false
	})
}

func (s *sway) nothing() {
	s.t.Helper()
	if left := s.pids("swaynag"); len(left) > 0 {
		s.t.Fatalf("left: %v", left)
	}
	if left := s.pids("wayvnc"); len(left) != 1 { // the hand
		s.t.Fatalf("left: %v", left)
	}
	if left, _ := filepath.Glob(filepath.Join(os.TempDir(), "scrier-console-*")); len(left) > 0 {
		s.t.Fatalf("left: %v", left)
	}
}

func TestSway(t *testing.T) {
	u := newUser(t)
	w := u.sway()
	c := u.console(DefaultConfig())
	if got := c.Who(t.Context()); got != u.name {
		t.Fatalf("at the screen is %q, want %s", got, u.name)
	}
	for _, name := range []string{"alice", "<b>bob</b> & \"x\"", strings.Repeat("x", 10_000)} {
		a := ask(t, t.Context(), c, Request{Operator: name, Purpose: "the printer"})
		eventually(t, "the question", func() bool { return len(w.bar()) == 2 })
		w.click(1) // Allow
		s, err := a.wait()
		must(t, err)
		r := newRFB(t, s)
		r.sees(640, 500, background)
		w.nobodyElse()
		if buttons := w.bar(); len(buttons) != 1 {
			t.Fatalf("the notice has %d buttons", len(buttons))
		}
		w.click(0) // End
		ended(t, s, wire.ConsoleEnded)
		s.Close()
		w.nothing()
	}

	a := ask(t, t.Context(), c, Request{Operator: "alice"})
	eventually(t, "the question", func() bool { return len(w.bar()) == 2 })
	w.click(0) // Deny
	_, err := a.wait()
	wantCode(t, err, wire.ConsoleRefused)

	a = ask(t, t.Context(), c, Request{Operator: "alice"})
	eventually(t, "the question", func() bool { return len(w.bar()) == 2 })
	must(t, unix.Kill(u.pids("swaynag")[0], unix.SIGKILL))
	_, err = a.wait()
	wantCode(t, err, wire.ConsoleRefused)

	c.patience, c.grace = time.Second, time.Second
	_, err = c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleNoAnswer)
	w.nothing()
}

// nobodyElse checks that the sharing has left no socket to which somebody could connect.
func (s *sway) nobodyElse() {
	s.t.Helper()
	text, err := os.ReadFile("/proc/net/unix")
	must(s.t, err)
	for line := range strings.Lines(string(text)) {
		_, name, _ := strings.Cut(line, "scrier-console-")
		if name == "" {
			continue
		}
		name = filepath.Join(os.TempDir(), "scrier-console-"+strings.TrimSpace(name))
		if _, err := os.Lstat(name); err == nil {
			s.t.Errorf("%s is there", name)
		}
	}
}

// An operator can press the notice's button and so end the sharing, but only with control.
func TestSwayControl(t *testing.T) {
	u := newUser(t)
	w := u.sway()
	c := u.console(unasked)
	press := func(r *rfb) {
		at := w.bars()
		if len(at) == 0 {
			return
		}
		x, y := byte(at[0]>>8), byte(at[0])
		// The connection may be at its end.
		_, _ = r.share.Conn.Write([]byte{5, 0, 2, 128, 1, 144, 5, 0, x, y, 0, 14, 5, 1, x, y, 0, 14, 5, 0, x, y, 0, 14})
	}
	s := share(t, c, Request{Operator: "alice", View: true})
	r := newRFB(t, s)
	r.sees(640, 500, background)
	for range 5 {
		press(r)
		r.update()
	}
	select {
	case <-s.Done():
		t.Fatal("a viewer pressed a button")
	default:
	}
	s.Close()
	w.nothing()

	s = share(t, c, Request{Operator: "alice"})
	r = newRFB(t, s)
	r.sees(640, 500, background)
	eventually(t, "the button is pressed", func() bool {
		select {
		case <-s.Done():
			return true
		default:
		}
		press(r)
		return false
	})
	ended(t, s, wire.ConsoleEnded)
	s.Close()

	// When the compositor ends, so does the sharing.
	s = share(t, c, Request{Operator: "alice"})
	newRFB(t, s)
	must(t, unix.Kill(u.pids("sway")[0], unix.SIGKILL))
	ended(t, s, wire.ConsoleEnded, wire.DesktopFailed)
	s.Close()
}

func TestSwayMissing(t *testing.T) {
	u := newUser(t)
	u.sway()
	c := u.console(unasked)
	for _, program := range []string{"wayvnc", "swaynag"} {
		c.programs = farm(t, nil, program, "loginctl")
		_, err := c.Share(t.Context(), Request{Operator: "alice"})
		wantCode(t, err, wire.ConsoleMissing)
		if !strings.Contains(wire.DetailOf(err), program) {
			t.Errorf("without %s: %v", program, err)
		}
	}
	// A compositor that does not show wayvnc its screen.
	c.programs = farm(t, map[string]string{"wayvnc": "exit 1"}, "loginctl")
	_, err := c.Share(t.Context(), Request{Operator: "alice"})
	wantCode(t, err, wire.ConsoleUnsupported)
}
