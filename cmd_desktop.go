//go:build !agentonly

package main

import (
	"errors"
	"os"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"scrier/client"
	"scrier/wire"
)

// desktopHelp is what both commands have in common.
const desktopHelp = `
The session is opened first, so that what is wrong is said at once. Then one viewer may connect to the
printed address within 60 seconds; it must belong to your user, and a second one is refused. When stdout
is a terminal and there is a screen, the first of these that is installed is started instead:
%s.
--viewer names another program, or none. Closing the viewer, or Ctrl-C, ends the session.

User name and password are asked by the viewer and go to the desktop server; the relay does not see
them where the server encrypts them. The clipboard and files are up to the viewer: the relay's rules for
them hold in browsers only, and scrier.desktop.native_viewers of the relay switches this command off.
`

// desktopExits are the likely ends of both.
var desktopExits = []wire.Code{
	wire.NativeOff, wire.ListenerUntrusted, wire.DesktopFailed, wire.Unauthenticated, wire.Expired, wire.Forbidden, wire.RelayUnreachable,
	wire.NoSuchEnvoy, wire.AmbiguousEnvoy, wire.EnvoyOffline, wire.AgentTimeout, wire.AgentLost, wire.Limit, wire.TargetRefused, wire.PortNotAllowed,
	wire.Killed, wire.Cancelled, wire.AuditUnavailable,
}

func vncCommand() *cobra.Command {
	var d desktop
	var console wire.Console
	var shared bool
	c := &cobra.Command{
		Use:   "vnc ENVOY [--port N | --console [--view] [--purpose TEXT]] [--listen ADDR] [--viewer PROGRAM|none]",
		Short: "Open an envoy's desktop in a VNC viewer of yours",
		Long: `Open a desktop on an envoy in a VNC viewer of yours. The viewer gets one connection, to the VNC server on the
envoy. ENVOY is a hostname, an id, or a prefix of one that only one envoy has. If you have no viewer, open the
desktop in a browser.

--console shows the screen of who sits at the envoy. They are asked, with your name and --purpose, and have
30 seconds to answer. While you are there they see it, and they can end it.
` + strings.Replace(desktopHelp, "%s", "vncviewer, xtigervncviewer, xtightvncviewer, remmina, gvncviewer", 1) +
			exitHelp("0    the viewer or the desktop was closed", append(desktopExits[:len(desktopExits):len(desktopExits)],
				wire.ConsoleOff, wire.ConsoleEmpty, wire.ConsoleLocked, wire.ConsoleRefused, wire.ConsoleNoAnswer, wire.ConsoleMissing, wire.ConsoleUnsupported, wire.ConsoleEnded)...) +
			"  All codes are in docs/errors.md.\n",
		Example: `  scrier vnc web1
  scrier vnc web1 --port 5901 --viewer none
  scrier vnc web1 --console --view --purpose "the printer"`,
		Args: oneEnvoy,
		RunE: func(c *cobra.Command, args []string) error {
			switch {
			case !shared && (console.View || console.Purpose != ""):
				return wire.Errorf(wire.Usage, "--view and --purpose go with --console")
			case shared && d.port != 0:
				return wire.Errorf(wire.Usage, "--port does not go with --console: the machine's agent starts the server")
			case len(console.Purpose) > wire.MaxPurpose || wire.Printable(console.Purpose) != console.Purpose:
				return wire.Errorf(wire.Usage, "--purpose is at most %d bytes of printable text", wire.MaxPurpose)
			case shared:
				return d.run(c, client.DesktopRequest{Envoy: args[0], Kind: wire.KindVNC, Console: &console})
			}
			return d.run(c, client.DesktopRequest{Envoy: args[0], Kind: wire.KindVNC})
		},
	}
	d.flags(c, "5900")
	c.Flags().BoolVar(&shared, "console", false, "show the screen of who sits at the machine, and asks them first")
	c.Flags().BoolVar(&console.View, "view", false, "with --console: only look")
	c.Flags().StringVar(&console.Purpose, "purpose", "", "with --console: `TEXT` that who is asked is shown, at most 200 bytes")
	return c
}

func rdpCommand() *cobra.Command {
	var d desktop
	c := &cobra.Command{
		Use:   "rdp ENVOY [--port N] [--listen ADDR] [--viewer PROGRAM|none]",
		Short: "Open an envoy's desktop in an RDP viewer of yours",
		Long: `Open a desktop on an envoy in an RDP viewer of yours. The viewer gets one connection, to the RDP server on the
envoy. ENVOY is a hostname, an id, or a prefix of one that only one envoy has. If you have no viewer, open the
desktop in a browser.

The viewer connects to an address of this machine and is shown the certificate of the server there, so it may
warn. Compare what it shows with the server's certificate.
` + strings.Replace(desktopHelp, "%s", "xfreerdp3, xfreerdp, wlfreerdp3, wlfreerdp, remmina", 1) +
			exitHelp("0    the viewer or the desktop was closed", desktopExits...) +
			"  All codes are in docs/errors.md.\n",
		Example: `  scrier rdp win1
  scrier rdp win1 --listen 127.0.0.1:33890 --viewer none`,
		Args: oneEnvoy,
		RunE: func(c *cobra.Command, args []string) error {
			return d.run(c, client.DesktopRequest{Envoy: args[0], Kind: wire.KindRDP})
		},
	}
	d.flags(c, "3389")
	return c
}

// oneEnvoy is an ENVOY without a login: who uses a native viewer gives it there.
func oneEnvoy(c *cobra.Command, args []string) error {
	if err := exact(1, "one ENVOY")(c, args); err != nil {
		return err
	}
	if at := strings.LastIndexByte(args[0], '@'); at >= 0 {
		return wire.Errorf(wire.Usage, "`%s` takes no login, as the viewer asks for it: `%s %s`", c.CommandPath(), c.CommandPath(), wire.Printable(args[0][at+1:]))
	}
	return nil
}

// desktop is the flags of both commands.
type desktop struct {
	port                             uint16
	listen, viewer, relay, transport string
}

func (d *desktop) flags(c *cobra.Command, port string) {
	c.Flags().Uint16Var(&d.port, "port", 0, "connect to port `N` of the envoy (default "+port+")")
	c.Flags().StringVar(&d.listen, "listen", "", "wait for the viewer at `ADDR`, a host:port on loopback (default: a free port of 127.0.0.1)")
	c.Flags().StringVar(&d.viewer, "viewer", "", "start this `PROGRAM`, or \"none\"")
	c.Flags().StringVar(&d.relay, "relay", "", "use the relay at `HOST:PORT` instead of the current one")
	transportFlag(c.Flags(), &d.transport)
}

// run opens the desktop; see [client.Relay.Desktop].
func (d *desktop) run(c *cobra.Command, req client.DesktopRequest) error {
	ctx := c.Context()
	screen := os.Getenv("DISPLAY") != "" || os.Getenv("WAYLAND_DISPLAY") != "" || runtime.GOOS == "darwin"
	if d.viewer != "none" && (d.viewer != "" || screen && term.IsTerminal(int(os.Stdout.Fd()))) {
		v, err := client.FindViewer(req.Kind, d.viewer, runtime.GOOS)
		if err != nil {
			return err
		}
		req.Viewer = v
	}
	t := target{relay: d.relay, transport: d.transport}
	r, err := t.dial(ctx)
	if err != nil {
		return err
	}
	defer r.Close()
	req.Port, req.Listen, req.Out, req.Messages = d.port, d.listen, c.OutOrStdout(), c.ErrOrStderr()
	err = r.Desktop(ctx, req)
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Code == wire.TargetRefused && req.Console == nil {
		told := *e
		err = told.Advise("check on that machine that its %s server runs, and at which port it listens; --port names another", strings.ToUpper(string(req.Kind)))
	}
	return interrupted(ctx, err)
}
