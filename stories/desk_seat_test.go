package stories

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdLogind says who sits at the machine's screen.
//
//	logind [USER DISPLAY]
//
// The machine has no systemd, so the first of these puts a loginctl of the script's own on it.
func cmdLogind(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 && len(args) != 2 {
		ts.Fatalf("usage: logind [USER DISPLAY]")
	}
	const front = "/run/story/front"
	ts.Check(os.WriteFile("/usr/local/bin/loginctl", []byte(loginctl), 0o755))
	if len(args) == 0 {
		ts.Check(os.RemoveAll(front))
		return
	}
	uid, err := output(ts, "id", "-u", ts.Getenv(args[0]))
	ts.Check(err)
	ts.Check(os.WriteFile(front, []byte(strings.TrimSpace(uid)+" "+args[1]+"\n"), 0o644))
}

// loginctl knows at most one session, and what of it the agent asks for.
const loginctl = `#!/bin/sh
read -r uid display </run/story/front || exit 0
case $1 in
list-sessions) echo "1 $uid user seat0" ;;
show-session)
	kind=wayland
	case $display in :*) kind=x11 ;; *) display= ;; esac
	printf '%s\n' User="$uid" Class=user Type="$kind" Active=yes State=active Remote=no Seat=seat0 Display="$display" LockedHint=no
	;;
esac
`

// cmdSeat logs a user in at a screen of the machine: X11, or Wayland with sway.
//
//	seat USER [wayland]
func cmdSeat(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 || len(args) > 2 || len(args) == 2 && args[1] != "wayland" {
		ts.Fatalf("usage: seat USER [wayland]")
	}
	w, name := worldOf(ts), "seat-"+args[0]
	login, home := ts.Getenv(args[0]), ts.Getenv(args[0]+"_home")
	w.endX(name)
	var d *display
	if len(args) == 2 {
		d = startSway(ts, name, login, home)
	} else {
		d = startX(ts, name, login, home, "Xvfb", "-screen", "0", "1280x720x24")
		w.start(ts, name+"-xterm", d.command(ts, xterm...)...)
		poll(ts, name, func() error {
			_, err := d.output(ts, "xdotool", "search", "--onlyvisible", "--class", "xterm")
			return err
		})
	}
	if w.seats == nil {
		w.seats = map[string]*display{}
	}
	w.seats[args[0]] = d
	_, at, _ := strings.Cut(d.env[0], "=")
	cmdLogind(ts, false, []string{args[0], at})
}

// cmdActive waits until a window of a class has the keyboard of a user's screen: who clicks into one
// types a moment later.
func cmdActive(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || worldOf(ts).seats[args[0]] == nil {
		ts.Fatalf("usage: active USER CLASS, of a user with a seat")
	}
	d := worldOf(ts).seats[args[0]]
	poll(ts, "active "+args[1], func() error {
		id, err := d.output(ts, "xdotool", "getactivewindow")
		if err != nil {
			return err
		}
		class, err := d.output(ts, "xprop", "-id", strings.TrimSpace(id), "WM_CLASS")
		if err == nil && !strings.Contains(class, strconv.Quote(args[1])) {
			err = errors.New(class)
		}
		return err
	})
}

// cmdPress waits for a window of Scrier's on a user's screen that has a button of this name, and
// clicks it. With ! it wants none of Scrier's windows to be there, or to have gone soon.
//
//	press [-soon] USER BUTTON
//	! press USER
//
// With -soon it does so beside what the script does next.
func cmdPress(ts *testscript.TestScript, neg bool, args []string) {
	if len(args) > 1 && args[0] == "-soon" && !neg {
		// What it is pressed for is yet to come, and waits for it.
		w := worldOf(ts)
		w.soon.Go(func() {
			d, deadline := w.seats[args[1]], time.Now().Add(patience)
			for err := d.press(ts, args[2]); err != nil; err = d.press(ts, args[2]) {
				if time.Now().After(deadline) {
					return // whoever waits for it says so
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
		return
	}
	if neg != (len(args) == 1) || len(args) == 0 || len(args) > 2 {
		ts.Fatalf("usage: press USER BUTTON, or ! press USER")
	}
	d := worldOf(ts).seats[args[0]]
	if d == nil {
		ts.Fatalf("%s has no seat", args[0])
	}
	if neg {
		poll(ts, "press", func() error {
			if all, err := dialogsOf(ts, d); err != nil || len(all) > 0 {
				return fmt.Errorf("%v, %v", all, err)
			}
			return nil
		})
		return
	}
	poll(ts, "press "+args[1], func() error { return d.press(ts, args[1]) })
}

func (d *display) press(ts *testscript.TestScript, button string) error {
	all, err := dialogsOf(ts, d)
	if err != nil {
		return err
	}
	for pid, buttons := range all {
		n := slices.Index(buttons, button)
		if n < 0 {
			continue
		}
		if err := d.click(ts, buttons, n); err != nil {
			return err
		}
		// One that was not drawn yet did not see it.
		for wait := time.Now().Add(time.Second); time.Now().Before(wait); time.Sleep(20 * time.Millisecond) {
			if all, err = dialogsOf(ts, d); err != nil || all[pid] == nil {
				return err
			}
		}
	}
	return fmt.Errorf("there are only %v", all)
}

// cmdAsked waits until a window of Scrier's with such a button is there.
func cmdAsked(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 || worldOf(ts).seats[args[0]] == nil {
		ts.Fatalf("usage: asked USER BUTTON, of a user with a seat")
	}
	poll(ts, "asked", func() error {
		all, err := dialogsOf(ts, worldOf(ts).seats[args[0]])
		for _, buttons := range all {
			if slices.Contains(buttons, args[1]) {
				return nil
			}
		}
		return fmt.Errorf("%v, %v", all, err)
	})
}

// dialogsOf finds the programs that show something for Scrier, by process, each with its buttons.
func dialogsOf(ts *testscript.TestScript, d *display) (map[int][]string, error) {
	uid, err := output(ts, "id", "-u", d.login)
	if err != nil {
		return nil, err
	}
	all := map[int][]string{}
	pids, err := processesOf(strings.TrimSpace(uid))
	for _, pid := range pids {
		line, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/cmdline")
		if err != nil {
			continue // it has ended
		}
		argv := strings.Split(string(line), "\x00")
		var buttons []string
		switch filepath.Base(argv[0]) {
		case "xmessage":
			if i := slices.Index(argv, "-buttons"); i >= 0 && i+1 < len(argv) {
				for b := range strings.SplitSeq(argv[i+1], ",") {
					name, _, _ := strings.Cut(b, ":")
					buttons = append(buttons, name)
				}
			}
		case "swaynag":
			for i, a := range argv[:len(argv)-1] {
				if a == "-s" || a == "-Z" {
					buttons = append(buttons, argv[i+1])
				}
			}
		}
		if buttons != nil {
			all[pid] = buttons
		}
	}
	return all, err
}

var xButton = regexp.MustCompile(`(?m)^ {8}0x[0-9a-f]+ .*?: \(.*?\)  (\d+)x(\d+)\+-?\d+\+-?\d+  \+(-?\d+)\+(-?\d+)$`)

// click clicks the nth of these buttons.
func (d *display) click(ts *testscript.TestScript, buttons []string, n int) error {
	if d.hands != nil {
		return d.clickSway(n)
	}
	found, err := d.output(ts, "xdotool", "search", "--onlyvisible", "--class", "xmessage")
	if err != nil {
		return err
	}
	for id := range strings.FieldsSeq(found) {
		tree, err := d.output(ts, "xwininfo", "-tree", "-id", id)
		if err != nil {
			return err
		}
		// The text first or last, the buttons in a row below it.
		type rect struct{ w, h, x, y int }
		var row []rect
		for _, m := range xButton.FindAllStringSubmatch(tree, -1) {
			var r rect
			for i, at := range []*int{&r.w, &r.h, &r.x, &r.y} {
				if *at, err = strconv.Atoi(m[i+1]); err != nil {
					return err
				}
			}
			row = append(row, r)
		}
		lowest := slices.MaxFunc(append(row, rect{}), func(a, b rect) int { return cmp.Compare(a.y, b.y) })
		row = slices.DeleteFunc(row, func(r rect) bool { return r.y != lowest.y })
		slices.SortFunc(row, func(a, b rect) int { return cmp.Compare(a.x, b.x) })
		if len(row) != len(buttons) {
			continue // another window
		}
		r := row[n]
		_, err = d.output(ts, "xdotool", "mousemove", strconv.Itoa(r.x+r.w/2), strconv.Itoa(r.y+r.h/2), "click", "1")
		return err
	}
	return errors.New("its window is not there yet")
}

// startSway starts a Wayland session.
func startSway(ts *testscript.TestScript, name, login, home string) *display {
	w := worldOf(ts)
	run, config := ts.MkAbs(name+"-run"), ts.MkAbs(name+".conf")
	ts.Check(os.RemoveAll(run))
	ts.Check(chowned(login, run, func(p string) error { return os.Mkdir(p, 0o700) }))
	ts.Check(os.WriteFile(config, []byte("output HEADLESS-1 resolution 1280x720 bg "+ground+" solid_color\nxwayland disable\n"), 0o644))
	d := &display{name: name, login: login, home: home, env: []string{
		"WAYLAND_DISPLAY=wayland-1", "XDG_RUNTIME_DIR=" + run, "SWAYSOCK=" + filepath.Join(run, "sway.sock"),
	}}
	p := w.start(ts, name, asUser(ts, login, home, append(d.env[1:], "WLR_BACKENDS=headless", "WLR_LIBINPUT_NO_DEVICES=1", "WLR_RENDERER=pixman"), "sway", "-c", config)...)
	poll(ts, name, func() error {
		if p.ended() {
			ts.Fatalf("sway ended: %v: %s", p.err, p.out)
		}
		_, err := d.output(ts, "swaymsg", "-t", "get_outputs")
		return err
	})
	// A mouse for the user: there is none without a screen.
	hands := w.address()
	host, port, err := net.SplitHostPort(hands)
	ts.Check(err)
	listens(ts, w.start(ts, name+"-hands", d.command(ts, "wayvnc", "-C", "/dev/null", host, port)...), hands)
	d.hands, err = dialRFB(hands, "")
	ts.Check(err)
	w.keep(hands, d.hands)
	poll(ts, name, func() error { return d.hands.hasColour(640, 600, ground) })
	return d
}

// clickSway clicks in the bar of swaynag at the upper edge, whose first button is the rightmost.
func (d *display) clickSway(n int) error {
	const first, step, y = 1256, -81, 15 // of swaynag 1.7 with Deny and Allow, or with End
	return errors.Join(d.hands.point(first+n*step, y, 0), d.hands.point(first+n*step, y, 1), d.hands.point(first+n*step, y, 0))
}
