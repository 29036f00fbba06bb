package console

import (
	"os"
	"path/filepath"
	"strings"

	"scrier/wire"
)

// programs finds programs in folders that belong to the system. The PATH that the agent was started
// with does not count, as some programs are run as other users.
type programs struct{ dirs []string }

func systemPrograms() programs {
	return programs{[]string{"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"}}
}

// find is the path of a program, and empty if it is not installed.
func (p programs) find(name string) string {
	for _, dir := range p.dirs {
		path := filepath.Join(dir, name)
		if i, err := os.Stat(path); err == nil && i.Mode().IsRegular() && i.Mode()&0o111 != 0 {
			return path
		}
	}
	return ""
}

// need is find, with an error that says what to install.
func (p programs) need(name, pkg string) (string, error) {
	if path := p.find(name); path != "" {
		return path, nil
	}
	return "", wire.Errorf(wire.ConsoleMissing, "%s is not installed (package %s)", name, pkg)
}

func (p programs) path() string { return "PATH=" + strings.Join(p.dirs, ":") }
