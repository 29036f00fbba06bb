package main

import (
	"encoding/json"
	"errors"
	"go/parser"
	"go/token"
	"io"
	"os/exec"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// ban says what a package must not import, and why. Whatever it names must exist: a ban on a
// package that was moved would hold nothing.
type ban struct {
	in      []string // patterns of package paths; "..." also matches what is below
	imports []string
	save    []string // of imports, those that are allowed
	but     []string // files that may all the same
	why     string
}

var bans = []ban{
	{
		in: []string{"scrier/wire/..."}, imports: []string{"scrier/certs/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "wire is what relay, agent and client say to each other; all of them import it, so it imports none of them",
	},
	{
		in: []string{"scrier/certs/..."}, imports: []string{"scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "relay, agent and client all ask certs who is who, so certs imports none of them",
	},
	{
		in: []string{"scrier/wire", "scrier/certs", "scrier/config/...", "scrier/agent/..."}, imports: []string{"net/http", "scrier/certs/acme"},
		why: "an agent speaks no HTTP: it takes megabytes of its program and of every machine's memory",
	},
	{
		in: []string{"scrier/config/..."}, imports: []string{"scrier/certs/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "config reads any configuration file; what stands in it is for its callers to say",
	},
	{
		in: []string{"scrier/roads"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/certs"},
		why: "agents and terminals note in roads what won; who dials, and how, is for them to say",
	},
	{
		in: []string{"scrier/sockets"}, imports: []string{"scrier/wire/...", "scrier/certs/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "whose a socket is, the kernel says; sockets needs nobody else",
	},
	{
		in: []string{"scrier/network"}, imports: []string{"scrier/..."},
		why: "that the network has changed, the kernel says; network needs nobody else",
	},
	{
		in: []string{"scrier/relay/guac/..."}, imports: []string{"scrier/certs/...", "scrier/relay", "scrier/relay/web/...", "scrier/relay/session/...", "scrier/relay/kind/...", "scrier/relay/access/...", "scrier/relay/fleet/...", "scrier/relay/audit/...", "scrier/relay/store/..."},
		why: "guac is the Guacamole protocol alone; it must work without a relay around it",
	},
	{
		in: []string{"scrier/relay/sftp"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire"},
		why: "what passes over SFTP depends on its bytes and the rights alone, whoever brings them",
	},
	{
		in: []string{"scrier/relay/files"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/relay/sftp", "scrier/relay/panics"},
		why: "files works on whatever channel it is given; whose session that is, is for others to say",
	},
	{
		in: []string{"scrier/relay/screen"}, imports: []string{"scrier/certs/...", "scrier/config/...", "scrier/relay/...", "os", "io", "net", "time", "sync", "context"},
		why: "what a terminal shows depends on its output alone: no clock, no goroutine, no I/O",
	},
	{
		in: []string{"scrier/relay/...", "scrier/agent/...", "scrier/client/..."}, imports: []string{"scrier/relay/doctor"},
		why: "the doctor looks at the relay; nothing of the relay needs the doctor",
	},
	{
		in: []string{"scrier/static"}, imports: []string{"scrier/wire/...", "scrier/certs/...", "scrier/config/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "static is the built pages, as files; who serves them imports it, not the other way round",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"golang.org/x/crypto/acme/..."}, but: []string{"scrier/certs/acme/*"},
		why: "only certs/acme asks a CA on the network for certificates",
	},
	{
		in: []string{"scrier/relay/..."}, imports: []string{"scrier/agent/...", "scrier/client/..."},
		why: "relay, agent and client meet on the network only; what two of them need belongs in wire or certs",
	},
	{
		in: []string{"scrier/agent/..."}, imports: []string{"scrier/relay/...", "scrier/client/...", "scrier/static"},
		why: "relay, agent and client meet on the network only; an agent must build without a relay's store and pages",
	},
	{
		in: []string{"scrier/agent/program"}, imports: []string{"scrier/..."},
		why: "running a program and reading its answer needs nobody of ours",
	},
	{
		in: []string{"scrier/agent/become"}, imports: []string{"scrier/..."},
		why: "the one place where a process gives up its privileges is read by itself",
	},
	{
		in: []string{"scrier/agent/account"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/agent/program"},
		why: "all rooms of the agent look accounts up here, so it imports none of them",
	},
	{
		in: []string{"scrier/agent/builtin/...", "scrier/agent/console", "scrier/agent/keys/..."}, imports: []string{"scrier/agent"},
		why: "package agent brings its rooms together; they do not import it",
	},
	{
		in: []string{"scrier/agent/builtin/..."}, imports: []string{"scrier/agent/console", "scrier/agent/keys/..."},
		why: "builtin, console and keys are three rooms side by side; package agent brings them together",
	},
	{
		in: []string{"scrier/agent/console"}, imports: []string{"scrier/agent/builtin/...", "scrier/agent/keys/..."},
		why: "builtin, console and keys are three rooms side by side; package agent brings them together",
	},
	{
		in: []string{"scrier/agent/keys/..."}, imports: []string{"scrier/agent/builtin/...", "scrier/agent/console"},
		why: "builtin, console and keys are three rooms side by side; package agent brings them together",
	},
	{
		in: []string{"scrier/agent/builtin/sftp"}, imports: []string{"scrier/..."},
		why: "an SFTP server is about files alone",
	},
	{
		in: []string{"scrier/agent/builtin/worker"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/agent/builtin/sftp"},
		why: "the half that runs as the user does not use the half that may run as root",
	},
	{
		in: []string{"scrier/agent/keys/line"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire"},
		why: "what a line means depends on the line alone",
	},
	{
		in: []string{"scrier/agent/keys/line"}, imports: []string{"os", "os/exec", "net", "syscall", "golang.org/x/sys/unix"},
		why: "what a line means must not depend on this machine: line opens no file, runs no program, asks no network",
	},
	{
		in: []string{"scrier/agent/keys/worker"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/agent/keys/line"},
		why: "the half that runs as the user does not use the half that runs as root",
	},
	{
		in: []string{"scrier/agent/keys/worker"}, imports: []string{"os/exec", "net"},
		why: "the process in a user's home runs no program and asks no network",
	},
	{
		in: []string{"scrier/relay/panics"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire"},
		why: "every room of the relay may have a boundary, so it imports none of them",
	},
	{
		in: []string{"scrier/relay/metrics"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/relay/tally"},
		why: "metrics shows what it is given: it knows no room, package relay asks them all",
	},
	{
		in: []string{"scrier/relay/..."}, imports: []string{"scrier/relay/metrics"}, but: []string{"scrier/relay/relay.go", "scrier/relay/figures.go"},
		why: "a room counts, and does not know who reads the counts",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"github.com/prometheus/..."}, but: []string{"scrier/relay/metrics/*"},
		why: "no room knows what its counts become, and nothing of Prometheus is in an agent",
	},
	{
		in: []string{"scrier/relay/tally"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire"},
		why: "every room of the relay may count what happens in it, so tally imports none of them",
	},
	{
		in: []string{"scrier/relay/evilclient", "scrier/relay/evilbrowser"}, imports: []string{"scrier/certs/...", "scrier/relay/..."}, save: []string{"scrier/relay/evilclient"},
		why: "who attacks a relay knows what crosses the network, and nothing of the relay",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"scrier/relay/evilclient", "scrier/relay/evilbrowser"}, but: []string{"scrier/relay/evilbrowser/*", "scrier/flood/*"},
		why: "what attacks relays is in no program but the one that floods them",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"scrier/agent/keys/keystest", "scrier/relay/fleet/fleettest", "scrier/relay/guac/guactest", "scrier/relay/session/ssh/sshtest", "scrier/relay/store/storetest", "scrier/relay/store/sharedtest", "scrier/wire/wiretest", "scrier/wire/relaytest"},
		why: "what tests share is in no program",
	},
	{
		in: []string{"scrier/client/..."}, imports: []string{"scrier/relay/...", "scrier/agent/...", "scrier/static"},
		why: "relay, agent and client meet on the network only; what two of them need belongs in wire or certs",
	},
	{
		in: []string{"scrier/client/transfer"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire"},
		why: "files are copied in the same way whatever carries the bytes: transfer is tested with an SFTP server alone",
	},
	{
		in: []string{"scrier/client/openssh"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/certs"},
		why: "what another program reads is written whatever comes of it",
	},
	{
		in: []string{"scrier/client"}, imports: []string{"scrier/client/..."},
		why: "the rooms of the client use what it is, and not the other way round",
	},
	{
		in: []string{"scrier/relay/lease", "scrier/relay/presence"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/relay/store"},
		why: "a relay's place among others is a matter between it and the state; whoever is told of its loss knows what to end",
	},
	{
		in: []string{"scrier/relay/peer"}, imports: []string{"scrier/..."}, save: []string{"scrier/wire", "scrier/relay/fleet", "scrier/relay/panics", "scrier/relay/store"},
		why: "what relays say to each other is about agents' streams alone; who may have one was decided before",
	},
	{
		in: []string{"scrier/relay/store/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/session/...", "scrier/relay/access/...", "scrier/relay/fleet/...", "scrier/relay/audit/..."},
		why: "the store keeps records for the rooms above it, and must not need those rooms",
	},
	{
		in: []string{"scrier/relay/audit/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/session/...", "scrier/relay/access/...", "scrier/relay/fleet/...", "scrier/relay/store/..."},
		why: "the log stands by itself, in a file of its own, and is verified without a relay",
	},
	{
		in: []string{"scrier/relay/access/...", "scrier/relay/fleet/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/session/..."},
		why: "imports run downwards: web > session > {access, fleet} > {audit, store}",
	},
	{
		in: []string{"scrier/relay/access/..."}, imports: []string{"scrier/relay/fleet/..."},
		why: "access is about operators, fleet about machines; relay/open.go brings the two together",
	},
	{
		in: []string{"scrier/relay/fleet/..."}, imports: []string{"scrier/relay/access/..."},
		why: "access is about operators, fleet about machines; relay/open.go brings the two together",
	},
	{
		in: []string{"scrier/relay/session/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/kind/...", "github.com/quic-go/...", "net/http"},
		why: "a session is the same over QUIC, WebTransport and WebSocket, and whatever it is for, so it imports none of them",
	},
	{
		in: []string{"scrier/relay/session"}, imports: []string{"scrier/relay/session/..."},
		why: "what a stage is comes before the stages",
	},
	{
		in: []string{"scrier/relay/session/audience"}, imports: []string{"scrier/relay/session/terminal", "scrier/relay/session/program", "scrier/relay/session/display", "scrier/relay/session/raw", "scrier/relay/session/transfer", "scrier/relay/session/hold", "scrier/relay/session/ssh"},
		why: "who sees a stage is the same whatever it shows",
	},
	{
		in: []string{"scrier/relay/session/terminal", "scrier/relay/session/program", "scrier/relay/session/display", "scrier/relay/session/raw", "scrier/relay/session/transfer", "scrier/relay/session/hold"}, imports: []string{"scrier/relay/session/ssh", "scrier/relay/fleet", "scrier/relay/guac"},
		why: "a stage shows what it is given; the kinds find it",
	},
	{
		in: []string{"scrier/relay/kind/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "github.com/quic-go/...", "net/http"},
		why: "a kind does not know by which way a request came",
	},
	{
		in: []string{"scrier/relay/kind/shell"}, imports: []string{"scrier/relay/kind/desktop", "scrier/relay/guac"},
		why: "kinds do not know each other",
	},
	{
		in: []string{"scrier/relay/kind/desktop"}, imports: []string{"scrier/relay/kind/shell", "scrier/relay/session/terminal", "scrier/relay/session/ssh"},
		why: "kinds do not know each other",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"github.com/quic-go/quic-go"}, but: []string{"scrier/wire/quic.go", "scrier/wire/dial.go", "scrier/wire/way.go", "scrier/relay/listen.go", "scrier/relay/web/visit.go", "scrier/bench/floor.go", "scrier/relay/evilclient/*", "scrier/relay/evilbrowser/*"},
		why: "above these files everything sees wire.Link and wire.Stream, so that another transport can be added",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"github.com/hashicorp/yamux"}, but: []string{"scrier/wire/tcp.go"},
		why: "everything sees wire.Link and wire.Stream, which yamux's own do not keep to",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"github.com/quic-go/quic-go/http3", "github.com/quic-go/webtransport-go", "github.com/coder/websocket"}, but: []string{"scrier/relay/web/*", "scrier/bench/bridge.go", "scrier/relay/evilbrowser/*"},
		why: "what browsers speak is used in relay/web alone, which hands wire.Streams to the others",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"go.etcd.io/bbolt"}, but: []string{"scrier/relay/boltfile/*", "scrier/relay/store/bolt/*", "scrier/relay/audit/*"},
		why: "another database can take bbolt's place only while nobody else imports it; the audit log has a file of its own",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"go.etcd.io/etcd/api/v3/...", "go.etcd.io/etcd/client/v3/..."}, but: []string{"scrier/relay/store/etcd/*", "scrier/relay/cluster/*"},
		why: "everything above sees a store.KV, and does not know which",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"go.etcd.io/etcd/server/v3/...", "go.etcd.io/etcd/client/pkg/v3/...", "go.uber.org/zap/..."}, but: []string{"scrier/relay/cluster/*"},
		why: "etcd's server takes 10 MB of a program, and is looked after in one place",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"filippo.io/age"}, but: []string{"scrier/relay/cluster/*"},
		why: "what is sealed, and for whom, is decided where the cluster's members are known",
	},
	{
		in: []string{"scrier/relay/cluster"}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/kind/...", "scrier/relay/session/...", "scrier/relay/access/...", "scrier/relay/fleet/...", "scrier/agent/...", "scrier/client/..."},
		why: "a cluster is what the rooms of a relay stand on, and it works without them",
	},
}

// constructors of tls.Config stand in certs alone; imports cannot tell, so the text must.
func TestTLSConfigsAreMadeInCerts(t *testing.T) {
	out, err := exec.Command("git", "grep", "-nE", `tls\.Config\{|InsecureIgnoreHostKey`, "--", "*.go", ":!*_test.go", ":!certs/").Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok && exit.ExitCode() == 1 {
		return // nothing found
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Errorf("only package certs builds a tls.Config, and nobody ignores a host key:\n%s", out)
}

func TestLayers(t *testing.T) {
	for _, p := range packages(t) {
		for _, b := range bans {
			if !matchesAny(b.in, p.ImportPath) {
				continue
			}
			for file, imports := range p.files(t) {
				if slices.ContainsFunc(b.but, func(pattern string) bool { ok, _ := path.Match(pattern, file); return ok }) {
					continue
				}
				for _, i := range imports {
					if b.forbids(i) && i != p.ImportPath {
						t.Errorf("%s imports %s: %s", file, i, b.why)
					}
				}
			}
		}
	}
}

// TestBansNameWhatExists finds a ban that holds nothing any more, because what it names was moved.
func TestBansNameWhatExists(t *testing.T) {
	out, err := exec.Command("go", "list", "-deps", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	all := strings.Fields(string(out))
	var files []string
	for _, p := range packages(t) {
		for _, f := range p.GoFiles {
			files = append(files, path.Join(p.ImportPath, f))
		}
	}
	for _, pattern := range missing(bans, all, files) {
		t.Errorf("a ban names %s, and there is no such package or file", pattern)
	}
	// And it does find one.
	moved := []ban{{in: []string{"scrier/nowhere", "scrier/wire/..."}, imports: []string{"scrier/gone/...", "os"}, save: []string{"scrier/wire/quic"}, but: []string{"scrier/wire/gone.go", "scrier/wire/*"}}}
	if got, want := missing(moved, all, files), []string{"scrier/nowhere", "scrier/gone/...", "scrier/wire/quic", "scrier/wire/gone.go"}; !slices.Equal(got, want) {
		t.Errorf("missing are %q, want %q", got, want)
	}
}

// missing are the patterns of bans that match no package and no file.
func missing(bans []ban, packages, files []string) (none []string) {
	for _, b := range bans {
		for _, pattern := range slices.Concat(b.in, b.imports, b.save) {
			if !slices.ContainsFunc(packages, func(p string) bool { return matches(pattern, p) }) {
				none = append(none, pattern)
			}
		}
		for _, pattern := range b.but {
			if !slices.ContainsFunc(files, func(f string) bool { ok, _ := path.Match(pattern, f); return ok }) {
				none = append(none, pattern)
			}
		}
	}
	return none
}

// forbids says whether the ban is about an import.
func (b ban) forbids(imported string) bool {
	return matchesAny(b.imports, imported) && !matchesAny(b.save, imported)
}

type goPackage struct {
	ImportPath, Dir string
	GoFiles         []string
}

func packages(t *testing.T) (all []goPackage) {
	t.Helper()
	out, err := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	for d := json.NewDecoder(strings.NewReader(string(out))); ; {
		var p goPackage
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages found", len(all))
	}
	return all
}

// files maps each file, as package path and name, to what it imports.
func (p goPackage) files(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for _, f := range p.GoFiles {
		imports, err := importsOf(path.Join(p.Dir, f))
		if err != nil {
			t.Fatal(err)
		}
		out[path.Join(p.ImportPath, f)] = imports
	}
	return out
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(pattern string) bool { return matches(pattern, pkg) })
}

func matches(pattern, pkg string) bool {
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		return pkg == base || strings.HasPrefix(pkg, base+"/")
	}
	return pattern == pkg
}

// importsOf reads the imports of one Go file.
func importsOf(file string) ([]string, error) {
	f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, i := range f.Imports {
		name, err := strconv.Unquote(i.Path.Value)
		if err != nil {
			return nil, err
		}
		out = append(out, name)
	}
	return out, nil
}
