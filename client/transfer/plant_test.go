package transfer_test

import (
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"pgregory.net/rapid"
)

// plant makes a random tree with names, sizes, modes and times of all kinds.
func plant(t *rapid.T, root string, depth int) {
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	names := rapid.SliceOfNDistinct(rapid.Map(rapid.OneOf(
		rapid.StringMatching(`[a-z *?\[\]\\"'$~-]{1,12}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 1, 20), func(b []byte) string { return string(b) }),
		rapid.Map(rapid.IntRange(200, 255), func(n int) string { return strings.Repeat("n", n) }),
	), func(s string) string {
		s = strings.NewReplacer("/", "_", "\x00", "_").Replace(s)
		if s == "." || s == ".." || strings.HasSuffix(s, ".scrier-part") {
			return "dot"
		}
		return s
	}), 0, 6, rapid.ID[string]).Draw(t, "names")
	for _, name := range names {
		path := filepath.Join(root, name)
		if depth < 3 && rapid.IntRange(0, 3).Draw(t, "kind") == 0 {
			plant(t, path, depth+1)
			continue
		}
		size := rapid.SampledFrom([]int{0, 1, 100, 32<<10 - 1, 32 << 10, 32<<10 + 1, 200_000, 5 << 20}).Draw(t, "size")
		seed := rapid.Uint64().Draw(t, "seed")
		data := make([]byte, size)
		_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(data)
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		mode := fs.FileMode(rapid.IntRange(0, 0o777).Draw(t, "mode")) | 0o400
		settle(t, path, mode)
	}
	settle(t, root, fs.FileMode(rapid.IntRange(0, 0o777).Draw(t, "folder's mode"))|0o500)
}

func settle(t *rapid.T, path string, mode fs.FileMode) {
	when := time.Unix(rapid.Int64Range(0, 1<<32-1).Draw(t, "time"), 0)
	if err := os.Chtimes(path, when, when); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}
