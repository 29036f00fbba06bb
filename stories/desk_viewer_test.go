package stories

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/rogpeppe/go-internal/testscript"
)

// cmdViewer starts `scrier vnc` or `scrier rdp` in the background and waits for the address that it
// prints, $NAME_addr. One that was started before needs no COMMAND.
func cmdViewer(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: viewer NAME [COMMAND…]")
	}
	if len(args) > 1 {
		worldOf(ts).start(ts, args[0], args[1:]...)
	}
	p := worldOf(ts).mustFind(ts, args[0])
	poll(ts, "viewer "+args[0], func() error {
		if at := regexp.MustCompile(`viewer to (127\.0\.0\.1:\d+)`).FindStringSubmatch(p.out.String()); at != nil {
			ts.Setenv(args[0]+"_addr", at[1])
			return nil
		}
		if p.ended() {
			ts.Fatalf("%s ended: %v: %s", args[0], p.err, p.out)
		}
		return fmt.Errorf("it says: %s", p.out)
	})
}

// cmdRFB is a VNC viewer without a window.
//
//	[!] rfb [-password PW] ADDR STEP…
//
// With ! and no step, no viewer gets in there. Each argument is a step; all wait until they are true:
//
//	pixel X,Y #RRGGBB  a pixel has a colour
//	size WxH           the screen has a size
//	type TEXT          types it; \r is Enter
//	click X,Y          moves the pointer and clicks
//	clipboard TEXT     the server has sent this as its clipboard
//	ended              the server has ended the connection
//	close              ends it
//
// The connection stays open for the next rfb with the same ADDR.
func cmdRFB(ts *testscript.TestScript, neg bool, args []string) {
	const usage = "usage: [!] rfb [-password PW] ADDR STEP…"
	password := ""
	if len(args) > 1 && args[0] == "-password" {
		password, args = args[1], args[2:]
	}
	if neg == (len(args) > 1) || len(args) == 0 {
		ts.Fatalf(usage)
	}
	w, addr := worldOf(ts), args[0]
	if neg {
		if v, err := dialRFB(addr, password); err == nil {
			v.close()
			ts.Fatalf("%s takes a viewer", addr)
		}
		return
	}
	v := w.rfbs[addr]
	if v == nil {
		var err error
		v, err = dialRFB(addr, password)
		ts.Check(err)
		w.keep(addr, v)
	}
	for _, step := range args[1:] {
		verb, rest, _ := strings.Cut(step, " ")
		switch verb {
		case "close":
			v.close()
			delete(w.rfbs, addr)
		case "type":
			text, err := strconv.Unquote(`"` + strings.ReplaceAll(rest, `"`, `\"`) + `"`)
			ts.Check(err)
			ts.Check(v.keyType(text))
		case "click":
			var x, y int
			_, err := fmt.Sscanf(rest, "%d,%d", &x, &y)
			ts.Check(err)
			for _, buttons := range []byte{0, 1, 0} {
				ts.Check(v.point(x, y, buttons))
			}
		default:
			poll(ts, "rfb "+step, func() error { return v.is(verb, rest) })
		}
	}
}

// keep lets a viewer stay until the script is over.
func (w *world) keep(addr string, v *rfb) {
	if w.rfbs == nil {
		w.rfbs = map[string]*rfb{}
	}
	w.rfbs[addr] = v
}

// is says why a step is not true yet.
func (v *rfb) is(verb, rest string) error {
	switch verb {
	case "size":
		return v.hasSize(rest)
	case "ended":
		return v.ended()
	case "clipboard":
		v.mu.Lock()
		defer v.mu.Unlock()
		if v.clipboard != rest {
			return fmt.Errorf("it is %q", v.clipboard)
		}
		return nil
	case "pixel":
		var x, y int
		var colour string
		if _, err := fmt.Sscanf(rest, "%d,%d %s", &x, &y, &colour); err != nil {
			return err
		}
		return v.hasColour(x, y, colour)
	}
	return errors.New("no such step")
}
