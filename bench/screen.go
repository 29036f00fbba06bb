package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// What is on the screen; static/bench/picture.mjs looks for it.
const (
	screenWidth, screenHeight = 1024, 768
	screenGround              = "#1e6450" // of all that no window covers
	screenRed, screenBlue     = "#c02020", "#2020c0"

	windowLeft, windowTop = 300, 200 // of the frame of the window that is dragged, when it is not

	circleRadius = 150 // pixels
	circleTime   = 1500 * time.Millisecond
	dragStep     = 16 * time.Millisecond // between two moves of the pointer: a mouse moves with each frame of a screen
)

// screen is an X server that is a VNC server, with a window manager. An xterm fills it, in which a
// block changes its colour with each key; another one is there to be dragged.
type screen struct {
	*world
	port string   // of VNC
	env  []string // of X clients

	ground, window string // X's ids of the two
}

func newScreen(ctx context.Context, w *world) (*screen, error) {
	s := &screen{world: w}
	var err error
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	// A server that makes it by itself may leave it closed for others.
	if err := os.MkdirAll("/tmp/.X11-unix", 0o777|os.ModeSticky); err != nil {
		return nil, err
	}
	auth := filepath.Join(w.dir, "xauthority")
	if err := os.WriteFile(auth, xauthority(), 0o600); err != nil {
		return nil, err
	}
	x := exec.Command("Xtigervnc", "-geometry", fmt.Sprintf("%dx%d", screenWidth, screenHeight), "-depth", "24", "-rfbport", s.port,
		"-localhost=1", "-SecurityTypes", "None", "-auth", auth, "-nolisten", "tcp", "-displayfd", "1")
	found, err := w.daemon(ctx, "", "screen", `(?m)^(\d+)$`, x)
	if err != nil {
		return nil, err
	}
	s.env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + w.dir, "LANG=C.UTF-8", "DISPLAY=:" + found[0], "XAUTHORITY=" + auth}
	if _, err := w.daemon(ctx, "", "openbox", "", s.command("openbox")); err != nil {
		return nil, err
	}
	if err := s.until(ctx, "a window manager", func() error {
		said, err := runIt(s.command("xprop", "-root", "_NET_SUPPORTING_WM_CHECK"))
		if err == nil && !strings.Contains(said, "window id #") {
			err = errors.New(said)
		}
		return err
	}); err != nil {
		return nil, err
	}
	// Text as of somebody who has worked there: in the window, and below it, to be drawn again when
	// the window has passed. The right edge stays free.
	small, large := filepath.Join(w.dir, "small.txt"), filepath.Join(w.dir, "large.txt")
	if err := errors.Join(os.WriteFile(small, listing(24, 1), 0o644), os.WriteFile(large, listing(58, 2), 0o644)); err != nil {
		return nil, err
	}
	// bash, as its read can take a single key.
	const block = `printf '\033[?25l'; cat "$0"; n=0; while :; do n=$((1-n)); printf '\033[H\033[4%dm' $((1+3*n)); for i in 1 2 3 4 5 6; do printf '            \r\n'; done; IFS= read -rsn1 || exit; done`
	if s.ground, err = s.xterm(ctx, "ground", "-fullscreen", "-geometry", "170x59", "-xrm", "*color1: "+screenRed, "-xrm", "*color4: "+screenBlue, "-e", "bash", "-c", block, large); err != nil {
		return nil, err
	}
	if s.window, err = s.xterm(ctx, "window", "-geometry", fmt.Sprintf("80x24+%d+%d", windowLeft, windowTop), "-e", "sh", "-c", "printf '\033[?25l'; cat "+small+"; exec sleep 86400"); err != nil {
		return nil, err
	}
	return s, s.front(s.ground)
}

// listing is a text like a listing of files, of so many lines and columns.
func listing(lines, columns int) []byte {
	var b bytes.Buffer
	for n := range lines {
		for c := range columns {
			fmt.Fprintf(&b, "-rw-r--r-- 1 root root %9d Jan %2d 12:%02d file-%03d-of-many.txt  ", (n+1)*(n+c+1)*997, 1+n%28, n, n*columns+c)
		}
		b.WriteString("\n")
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

func (s *screen) command(name string, args ...string) *exec.Cmd {
	c := exec.Command(name, args...)
	c.Env = s.env
	return c
}

// until waits for something of the screen to become true.
func (s *screen) until(ctx context.Context, what string, ok func() error) error {
	for end := time.Now().Add(patience); ; {
		err := ok()
		if err == nil {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("wait for %s: %w", what, err)
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// xterm starts one, and returns its window's id.
func (s *screen) xterm(ctx context.Context, name string, args ...string) (id string, err error) {
	title := "bench-" + name
	c := s.command("xterm", append([]string{"-T", title, "-bg", screenGround, "-fg", "#f0f0f0", "-fn", "fixed", "+bc"}, args...)...)
	if _, err := s.daemon(ctx, "", "xterm-"+name, "", c); err != nil {
		return "", err
	}
	return id, s.until(ctx, title, func() error {
		said, err := runIt(s.command("xdotool", "search", "--onlyvisible", "--name", "^"+title+"$"))
		id = strings.TrimSpace(said)
		return err
	})
}

// front puts a window before the others, and gives it the keys.
func (s *screen) front(id string) error {
	_, err := runIt(s.command("xdotool", "windowactivate", "--sync", id))
	return err
}

// drag takes the window by its title and moves it in circles, for about so long; it ends where it
// began. It returns how long it took.
func (s *screen) drag(ctx context.Context, about time.Duration) (time.Duration, error) {
	const x, y = windowLeft + 240, windowTop + 8 // in its title
	if _, err := runIt(s.command("xdotool", "mousemove", strconv.Itoa(x), strconv.Itoa(y))); err != nil {
		return 0, err
	}
	turns := max(1, int(about/circleTime))
	steps := turns * int(circleTime/dragStep)
	args := []string{"mousedown", "1"}
	for i := range steps {
		sin, cos := math.Sincos(2 * math.Pi * float64(i+1) * float64(turns) / float64(steps))
		args = append(args, "mousemove", strconv.Itoa(x+int(circleRadius*(cos-1))), strconv.Itoa(y+int(circleRadius*sin)), "sleep", fmt.Sprint(dragStep.Seconds()))
	}
	ctx, cancel := context.WithTimeout(ctx, about+patience)
	defer cancel()
	c := exec.CommandContext(ctx, "xdotool", append(args, "mouseup", "1")...)
	c.Env = s.env
	moved := make(chan error, 1)
	go func() { moved <- s.moves(ctx) }()
	begin := time.Now()
	_, err := runIt(c)
	took := time.Since(begin)
	cancel()
	return took, errors.Join(err, <-moved)
}

// moves waits until the window is where it was not.
func (s *screen) moves(ctx context.Context) error {
	first, err := runIt(s.command("xdotool", "getwindowgeometry", s.window))
	if err != nil {
		return err
	}
	return s.until(ctx, "the window to move", func() error {
		now, err := runIt(s.command("xdotool", "getwindowgeometry", s.window))
		if err == nil && now == first {
			err = errors.New("it does not")
		}
		return err
	})
}

// xauthority is a file with one cookie, for every display (Xau(3), FamilyWild).
func xauthority() []byte {
	var b []byte
	field := func(s string) { b = append(binary.BigEndian.AppendUint16(b, uint16(len(s))), s...) }
	b = binary.BigEndian.AppendUint16(b, 0xffff)
	field("") // address
	field("") // display
	field("MIT-MAGIC-COOKIE-1")
	field(rand.Text()[:16])
	return b
}

// startGuacd starts the one guacd that all viewers use, and returns its address.
func (w *world) startGuacd(ctx context.Context) (string, error) {
	port, err := freePort()
	if err != nil {
		return "", err
	}
	u, err := user.Lookup("guacd")
	if err != nil {
		return "", fmt.Errorf("%w: ./scripts/parts installs guacd", err)
	}
	uid, uerr := strconv.Atoi(u.Uid)
	gid, gerr := strconv.Atoi(u.Gid)
	home := filepath.Join(w.dir, "guacd-home")
	if err := errors.Join(uerr, gerr, os.Mkdir(home, 0o700)); err != nil {
		return "", err
	}
	if err := os.Chown(home, uid, gid); err != nil {
		return "", err
	}
	// setpriv becomes guacd: its process is the one that was started.
	_, err = w.daemon(ctx, "", "guacd", "Listening on host", exec.Command("setpriv", "--reuid", u.Uid, "--regid", u.Gid, "--clear-groups",
		"env", "-i", "PATH="+os.Getenv("PATH"), "HOME="+home, guacdProgram, "-f", "-L", "info", "-b", "127.0.0.1", "-l", port))
	return net.JoinHostPort("127.0.0.1", port), err
}
