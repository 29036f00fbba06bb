package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// desktopBench is a screen, a guacd, and both ways from there to the browser.
type desktopBench struct {
	*site
	screen  *screen
	browser *browser
}

const guacdProgram = "/usr/sbin/guacd"

// findDesktops says what is missing for the part desktop.
func findDesktops() error {
	for _, program := range []string{guacdProgram, "Xtigervnc", "openbox", "xterm", "xdotool", "xprop", "setpriv", "bash"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is missing: ./scripts/parts installs it; leave the part out with -skip desktop", program)
		}
	}
	return nil
}

func newDesktopBench(ctx context.Context, w *world) (*desktopBench, error) {
	b := new(desktopBench)
	var err error
	if b.screen, err = newScreen(ctx, w); err != nil {
		return nil, err
	}
	guacd, err := w.startGuacd(ctx)
	if err != nil {
		return nil, err
	}
	b.site, err = newSiteWith(ctx, w, "desktop", loopback, conf{
		relay: fmt.Sprintf("scrier: {guacd_addr: %q, allowed_ports: [22, %s]}\n", guacd, b.screen.port),
		agent: fmt.Sprintf("allowed_ports: [22, %s]\n", b.screen.port),
	})
	if err != nil {
		return nil, err
	}
	bare, err := b.startBridge(ctx, guacd)
	if err != nil {
		return nil, err
	}
	envoy, err := b.envoy(ctx)
	if err != nil {
		return nil, err
	}
	link, err := b.signInLink(ctx)
	if err != nil {
		return nil, err
	}
	b.browser, err = newBrowser(ctx, b.site, "bench/desktop.mjs", "ORIGIN=https://"+b.relay, "LINK="+link, "BARE="+bare, "ENVOY="+envoy, "PORT="+b.screen.port)
	return b, err
}

// startBridge bundles the bare page, and starts the bridge; it returns the page's address.
func (b *desktopBench) startBridge(ctx context.Context, guacd string) (string, error) {
	static, dir := filepath.Join(b.root, pageDir), filepath.Join(b.dir, "bare")
	if err := os.Mkdir(dir, 0o755); err != nil {
		return "", err
	}
	bundle := exec.CommandContext(ctx, "node_modules/.bin/esbuild", "bench/bare.mjs", "--bundle", "--minify", "--format=esm", "--target=es2022", "--outfile="+filepath.Join(dir, "bare.js"))
	bundle.Dir = static
	if _, err := runIt(bundle); err != nil {
		return "", err
	}
	page, err := os.ReadFile(filepath.Join(static, "bench", "bare.html"))
	if err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(dir, "index.html"), page, 0o644); err != nil {
		return "", err
	}
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	found, err := b.daemon(ctx, "", "bridge", `listens on (\S+)`, exec.Command(self, bridgeRole, guacd, b.screen.port, dir))
	if err != nil {
		return "", err
	}
	return "http://" + found[0], nil
}

// envoy is the id of the only one.
func (s *site) envoy(ctx context.Context) (string, error) {
	said, err := s.inNamespace(ctx, "", "envoys", "list", "--json")
	if err != nil {
		return "", err
	}
	var all []struct{ ID string }
	if err := json.Unmarshal([]byte(said), &all); err != nil {
		return "", fmt.Errorf("%w in %q", err, said)
	}
	if len(all) != 1 {
		return "", fmt.Errorf("there are %d envoys", len(all))
	}
	return all[0].ID, nil
}

// open opens a desktop in one of the browser's windows, and notes the time that took.
func (b *desktopBench) open(ctx context.Context, kind string, seat int, took *samples) error {
	r, err := b.browser.ask(ctx, command{Over: kind, Seat: seat, Do: "open"})
	if err != nil {
		return err
	}
	if r.Took == nil {
		return errors.New("the browser does not say how long it took")
	}
	if took != nil {
		*took = append(*took, ms(*r.Took))
	}
	return nil
}

// leave ends it.
func (b *desktopBench) leave(ctx context.Context, kind string, seat int) error {
	r, err := b.browser.ask(ctx, command{Over: kind, Seat: seat, Do: "leave"})
	if err != nil || !isScrier(kind) {
		return err
	}
	if r.Session == "" {
		return errors.New("the page's address has no session")
	}
	_, err = b.inNamespace(ctx, "", "sessions", "kill", r.Session)
	return err
}

// settled waits until guacd has as many desktops as are open: its process for one that has ended may
// stay for a while.
func (b *desktopBench) settled(ctx context.Context, open int) error {
	return b.screen.until(ctx, "guacd to end its desktops", func() error {
		now, err := b.usageOf("guacd")
		if err == nil && now.children != open {
			err = fmt.Errorf("it has %d, not %d", now.children, open)
		}
		return err
	})
}

// usages are those of the process in the middle (relay or bridge), agent and guacd.
func (b *desktopBench) usages(kind string) (out [3]usage, err error) {
	middle := "bridge"
	if isScrier(kind) {
		middle = "desktop-relay"
	}
	var errs [3]error
	for i, name := range []string{middle, "desktop-agent", "guacd"} {
		out[i], errs[i] = b.usageOf(name)
	}
	return out, errors.Join(errs[:]...)
}
