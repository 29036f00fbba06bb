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

// ban says what a package must not import, and why.
type ban struct {
	in      []string // patterns of package paths; "..." also matches what is below
	imports []string
	but     []string // files that may all the same
	why     string
}

var bans = []ban{
	{
		in: []string{"scrier/wire/..."}, imports: []string{"scrier/certs/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "wire is the vocabulary: it knows nobody who speaks it",
	},
	{
		in: []string{"scrier/certs/..."}, imports: []string{"scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "who is who is decided below the roles",
	},
	{
		in: []string{"scrier/config/..."}, imports: []string{"scrier/certs/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "how a file is read does not depend on what is in it",
	},
	{
		in: []string{"scrier/sockets"}, imports: []string{"scrier/wire/...", "scrier/certs/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "whose a socket is depends on nobody of ours",
	},
	{
		in: []string{"scrier/relay/guac/..."}, imports: []string{"scrier/certs/...", "scrier/relay", "scrier/relay/web/...", "scrier/relay/session/...", "scrier/relay/kind/...", "scrier/relay/access/...", "scrier/relay/fleet/...", "scrier/relay/audit/...", "scrier/relay/store/..."},
		why: "a protocol by itself knows nobody who speaks it",
	},
	{
		in: []string{"scrier/relay/...", "scrier/agent/...", "scrier/client/..."}, imports: []string{"scrier/relay/doctor"},
		why: "the doctor looks at the relay, not the other way round",
	},
	{
		in: []string{"scrier/static"}, imports: []string{"scrier/wire/...", "scrier/certs/...", "scrier/config/...", "scrier/relay/...", "scrier/agent/...", "scrier/client/..."},
		why: "files know nobody who serves them",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"golang.org/x/crypto/acme/..."}, but: []string{"scrier/certs/*"},
		why: "certificates come from one place",
	},
	{
		in: []string{"scrier/relay/..."}, imports: []string{"scrier/agent/...", "scrier/client/..."},
		why: "roles meet on the wire only",
	},
	{
		in: []string{"scrier/agent/..."}, imports: []string{"scrier/relay/...", "scrier/client/...", "scrier/static"},
		why: "roles meet on the wire only; an agent must build without a relay's store and pages",
	},
	{
		in: []string{"scrier/client/..."}, imports: []string{"scrier/relay/...", "scrier/agent/...", "scrier/static"},
		why: "roles meet on the wire only",
	},
	{
		in: []string{"scrier/relay/store/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/session/...", "scrier/relay/access/...", "scrier/relay/fleet/...", "scrier/relay/audit/..."},
		why: "what is remembered does not know who remembers it",
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
		why: "operators and machines do not know each other; relay/open.go joins them",
	},
	{
		in: []string{"scrier/relay/fleet/..."}, imports: []string{"scrier/relay/access/..."},
		why: "operators and machines do not know each other; relay/open.go joins them",
	},
	{
		in: []string{"scrier/relay/session/..."}, imports: []string{"scrier/relay", "scrier/relay/web/...", "scrier/relay/kind/...", "github.com/quic-go/...", "net/http"},
		why: "a session knows no transport, and nothing of what it is for",
	},
	{
		in: []string{"scrier/relay/session"}, imports: []string{"scrier/relay/session/..."},
		why: "what a stage is comes before the stages",
	},
	{
		in: []string{"scrier/relay/session/audience"}, imports: []string{"scrier/relay/session/terminal", "scrier/relay/session/display", "scrier/relay/session/raw", "scrier/relay/session/ssh"},
		why: "who sees a stage is the same whatever it shows",
	},
	{
		in: []string{"scrier/relay/session/terminal", "scrier/relay/session/display", "scrier/relay/session/raw"}, imports: []string{"scrier/relay/session/ssh", "scrier/relay/fleet", "scrier/relay/guac"},
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
		in: []string{"scrier/..."}, imports: []string{"github.com/quic-go/quic-go"}, but: []string{"scrier/wire/quic.go", "scrier/relay/listen.go", "scrier/bench/floor.go"},
		why: "above these two files everything sees wire.Link and wire.Stream, so that another transport can come",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"github.com/quic-go/quic-go/http3", "github.com/quic-go/webtransport-go", "github.com/coder/websocket"}, but: []string{"scrier/relay/web/*", "scrier/bench/bridge.go"},
		why: "what browsers speak ends in one room; behind it there are streams",
	},
	{
		in: []string{"scrier/..."}, imports: []string{"go.etcd.io/bbolt"}, but: []string{"scrier/relay/boltfile/*", "scrier/relay/store/bolt/*", "scrier/relay/audit/*"},
		why: "the store has more than one backend to come",
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
			if !slices.ContainsFunc(b.in, func(pattern string) bool { return matches(pattern, p.ImportPath) }) {
				continue
			}
			for file, imports := range p.files(t) {
				if slices.ContainsFunc(b.but, func(pattern string) bool { ok, _ := path.Match(pattern, file); return ok }) {
					continue
				}
				for _, i := range imports {
					if slices.ContainsFunc(b.imports, func(pattern string) bool { return matches(pattern, i) }) && i != p.ImportPath {
						t.Errorf("%s imports %s: %s", file, i, b.why)
					}
				}
			}
		}
	}
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
