package guactest

import (
	"os"
	"path/filepath"
)

// Prefix is the environment variable that has tests run against another guacd than the installed one:
// the folder that it was installed in (configure --prefix), with sbin/guacd and lib.
const Prefix = "SCRIER_GUACD"

// Program is the real guacd for tests, and what its environment needs.
func Program() (path string, env []string) {
	if prefix := os.Getenv(Prefix); prefix != "" {
		return filepath.Join(prefix, "sbin", "guacd"), []string{"LD_LIBRARY_PATH=" + filepath.Join(prefix, "lib")}
	}
	return "guacd", nil
}
