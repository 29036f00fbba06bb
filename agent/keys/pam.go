package keys

import (
	"io"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

const (
	maxPAMFile  = 256 << 10
	maxPAMFiles = 64
)

// pamModule is one line of a service's configuration, see pam.d(5).
type pamModule struct {
	name string // without its folder and .so
	args []string
}

// pamModules are the modules that PAM runs for a service, those of the files that it includes too. ok is
// false where that cannot be told.
func (k *Keys) pamModules(service string) (modules []pamModule, ok bool) {
	left := maxPAMFiles
	ok = true
	var walk func(name string)
	walk = func(name string) {
		if left--; left < 0 {
			ok = false
			return
		}
		text, found := k.readPAM(name)
		ok = ok && found
		for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
			line, _, _ = strings.Cut(line, "#")
			f := strings.Fields(line)
			if len(f) == 2 && f[0] == "@include" {
				walk(f[1])
				continue
			}
			if len(f) < 3 {
				ok = ok && len(f) == 0
				continue
			}
			rest := f[2:]
			if strings.HasPrefix(f[1], "[") { // a control of several words ends in ]
				end := slices.IndexFunc(f[1:], func(s string) bool { return strings.HasSuffix(s, "]") })
				if end < 0 || end+2 >= len(f) {
					ok = false
					continue
				}
				rest = f[end+2:]
			}
			if f[1] == "include" || f[1] == "substack" {
				walk(rest[0])
				continue
			}
			modules = append(modules, pamModule{strings.TrimSuffix(path.Base(rest[0]), ".so"), rest[1:]})
		}
	}
	walk(service)
	return modules, ok
}

// readPAM reads the configuration of a service: the machine's own, or else the one that came with its package.
func (k *Keys) readPAM(service string) (string, bool) {
	if service == "" || strings.HasPrefix(service, ".") || strings.Contains(service, "/") {
		return "", false
	}
	for _, name := range []string{filepath.Join(k.etc, "pam.d", service), filepath.Join("/usr/lib/pam.d", service)} {
		f, err := os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		if err != nil {
			continue
		}
		text, err := io.ReadAll(io.LimitReader(f, maxPAMFile+1))
		f.Close()
		return string(text), err == nil && len(text) <= maxPAMFile
	}
	return "", false
}

// pamHas says whether a service's configuration has a module, as far as that can be told.
func (k *Keys) pamHas(service, module string) bool {
	modules, _ := k.pamModules(service)
	return slices.ContainsFunc(modules, func(m pamModule) bool { return m.name == module })
}
