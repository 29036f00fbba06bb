package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"scrier/relay/guac"
)

// howToGuacd is what to do without a guacd.
const howToGuacd = "run one on this host: `docker run -d --restart unless-stopped --network host --entrypoint /opt/guacamole/sbin/guacd guacamole/guacd:1.6.0 -f -b 127.0.0.1`, " +
	"or the distribution's package guacd (docs/desktops.md); without desktops set scrier.guacd_addr to \"\""

// guacd checks the guacds, which draw desktops for the relay.
func (e *examiner) guacd(ctx context.Context) []Finding {
	const name = "guacd"
	if !e.here && e.Config == "" {
		return nil
	}
	if len(e.conf.Scrier.GuacdAddr) == 0 {
		return group(name, Finding{What: "guacd_addr", Status: Skip, Detail: "is empty: this relay has no desktops in browsers"})
	}
	var checks []func() []Finding
	for _, addr := range e.conf.Scrier.GuacdAddr {
		checks = append(checks, func() []Finding { return e.oneGuacd(ctx, addr) })
	}
	checks = append(checks, func() []Finding { return []Finding{e.callback(ctx)} })
	return group(name, parallel(checks...)...)
}

// oneGuacd asks the guacd at one address.
func (e *examiner) oneGuacd(ctx context.Context, addr string) []Finding {
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return []Finding{{What: addr, Status: Fail, Detail: "nothing answers: " + err.Error(), Hint: howToGuacd}}
	}
	_ = conn.Close() // nothing was sent
	answers := make([]asked, 2)
	speaks := func(i int, protocol string) func() []Finding {
		return func() []Finding {
			f := Finding{What: addr + " " + protocol, Status: OK}
			a, err := ask(ctx, addr, protocol)
			if err != nil {
				f.Status, f.Detail = Fail, "no handshake: "+detail(err)
				f.Hint = "is it guacd that listens there, and is its part for " + protocol + " installed (libguac-client-" + protocol + "0)?"
				return []Finding{f}
			}
			answers[i] = a
			f.Detail = fmt.Sprintf("answers with %d parameters", len(a.names))
			return []Finding{f}
		}
	}
	found := parallel(speaks(0, "rdp"), speaks(1, "vnc"))
	if answers[0].names != nil || answers[1].names != nil {
		found = append(found, versionFinding(addr, answers[0], answers[1]))
	}
	return append(found, e.exposed(addr)...)
}

// asked is what guacd wants to know for a protocol.
type asked struct {
	version string // of its own protocol: VERSION_1_5_0; guacd 1.0 names none
	names   []string
}

// ask begins a handshake with guacd, and then closes the connection.
func ask(ctx context.Context, addr, protocol string) (asked, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return asked{}, err
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) }) // ends what waits below
	defer stop()
	if _, err := conn.Write(guac.Append(nil, "select", protocol)); err != nil {
		return asked{}, err
	}
	i, err := guac.NewReader(conn).Next()
	switch {
	case ctx.Err() != nil:
		return asked{}, errors.New("no answer in time")
	case errors.Is(err, io.EOF):
		return asked{}, errors.New("it closed the connection")
	case err != nil:
		return asked{}, err
	case !i.Is("args"):
		return asked{}, fmt.Errorf("it answered with %q", i.Opcode())
	}
	a := asked{names: []string{}}
	for n := range i.Len() {
		if name := string(i.Arg(n)); n == 0 && strings.HasPrefix(name, "VERSION_") {
			a.version = name
		} else {
			a.names = append(a.names, name)
		}
	}
	return a, nil
}

// sinceSafe is a parameter of RDP that guacd has since 1.6.0. That is the first version in which the
// known attacks of a hostile desktop server are fixed (CVE-2023-43826, CVE-2024-35164). The version
// that guacd itself names is of its protocol, and is the same as in 1.5.
const sinceSafe = "disable-gfx"

// faults160 is what is known of 1.6.0. It answers like its successor, so that nobody can be warned of it
// alone.
const faults160 = "1.6.0 is good to run. It does not notice when an RDP server breaks off, and keeps a processor busy: " +
	"the relay ends such a desktop after 5 s. That is mended in 1.6.1, once that is released; then run that one"

func versionFinding(addr string, rdp, vnc asked) Finding {
	f := Finding{What: addr + " version", Status: Warn, Hint: "run 1.6.0 or newer, for example the container image guacamole/guacd:1.6.0"}
	version := cmp.Or(rdp.version, vnc.version, "VERSION_1_0_0")
	m := regexp.MustCompile(`^VERSION_(\d{1,4})_(\d{1,4})_(\d{1,4})$`).FindStringSubmatch(version)
	if m == nil {
		f.Detail = fmt.Sprintf("%q is not known", version)
		return f
	}
	var speaks []int
	for _, s := range m[1:] {
		n, _ := strconv.Atoi(s) // four digits at most
		speaks = append(speaks, n)
	}
	switch {
	case slices.Contains(rdp.names, sinceSafe) || slices.Compare(speaks, []int{1, 5, 0}) > 0:
		return Finding{What: f.What, Status: OK, Detail: "1.6.0 or newer; which one, it does not tell", Hint: faults160}
	case rdp.names == nil && slices.Compare(speaks, []int{1, 5, 0}) == 0:
		f.Detail = "1.5 or newer; before 1.6.0 it has known security holes, and without RDP that cannot be told"
	default:
		f.Detail = "older than 1.6.0 (it speaks " + strings.Join(m[1:], ".") + "): it has known security holes, and a hostile RDP or VNC server may take it over"
	}
	return f
}

// exposed finds out whether other machines can reach a guacd on this machine. They must not: guacd asks
// nobody who they are, and connects to whatever address it is given.
func (e *examiner) exposed(addr string) []Finding {
	host, port, err := net.SplitHostPort(addr)
	if ip := net.ParseIP(host); err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return []Finding{{What: addr + " reach", Status: Warn, Detail: "is not on loopback: everybody on that network can use it, and read along",
			Hint: "run guacd on this host, bound to 127.0.0.1"}}
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil
	}
	open, err := e.Listeners(uint16(n))
	f := Finding{What: addr + " reach", Status: OK, Detail: "listens on loopback only"}
	switch {
	case err != nil:
		f.Status, f.Detail = Skip, "cannot be told: "+err.Error()
	case len(open) == 0:
		f.Status, f.Detail = Skip, "its socket is not in this network namespace"
	default:
		for _, l := range open {
			if !l.Addr.IsLoopback() {
				f.Status, f.Detail = Warn, "listens on "+l.Addr.String()+": other machines can use it, without any password"
				f.Hint = "start guacd with -b 127.0.0.1"
			}
		}
	}
	return []Finding{f}
}

// callback looks whether guacd can call the relay back where it is told to: the relay listens there.
func (e *examiner) callback(ctx context.Context) Finding {
	host := e.conf.Scrier.ProxyHostname
	f := Finding{What: "proxy_hostname", Status: OK, Detail: host + " is an address of this host"}
	ctx, cancel := context.WithTimeout(ctx, e.Wait)
	defer cancel()
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		f.Status, f.Detail, f.Hint = Fail, host+" cannot be resolved: "+err.Error(), "set scrier.proxy_hostname to 127.0.0.1 when guacd runs on this host"
		return f
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(ips[0].Unmap().String(), "0"))
	if err != nil {
		f.Status, f.Detail = Fail, host+" is no address of this host: "+err.Error()
		f.Hint = "guacd calls the relay back there, so the relay must be able to listen there"
		return f
	}
	_ = l.Close() // nobody was let in
	if !ips[0].Unmap().IsLoopback() {
		f.Status, f.Detail = Warn, host+" is not loopback: desktops go unencrypted over that network"
		f.Hint = "run guacd on this host and set scrier.proxy_hostname to 127.0.0.1"
	}
	return f
}
