package screen_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	more   = flag.Int("more", 1, "times as many random examples")
	chosen = flag.Uint64("seed", 1, "of the random examples; 0: another one each time")
)

// programs is what real ones have printed; testdata/record has recorded it.
func programs(t *testing.T) map[string][]byte {
	t.Helper()
	files, err := filepath.Glob("testdata/*.out")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d recordings, %v", len(files), err)
	}
	all := map[string][]byte{}
	for _, f := range files {
		p, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		all[strings.TrimSuffix(filepath.Base(f), ".out")] = p
	}
	return all
}

// The viewer stops anywhere in a program's output, and the model is asked anywhere behind that.
func TestPrograms(t *testing.T) {
	t.Parallel()
	seed := *chosen
	if seed == 0 {
		seed = rand.Uint64()
	}
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 2))
	var examples []example
	for name, p := range programs(t) {
		for i := range 20 * *more {
			end := r.IntN(len(p)) + 1
			if i == 0 {
				end = len(p)
			}
			cut := r.IntN(end + 1)
			then := p[end:min(len(p), end+2000)]
			examples = append(examples, example{name: fmt.Sprintf("%s, %d of %d, seed %d", name, cut, end, seed), cols: 80, rows: 24, output: []op{{W: p[:end]}}, cut: cut, then: []op{{W: then}}, fed: r.IntN(3)})
		}
	}
	check(t, examples)
}

// A window that changes its size while a program runs that knows nothing of it.
func TestProgramsAndSizes(t *testing.T) {
	t.Parallel()
	var examples []example
	for name, p := range programs(t) {
		if name != "ls" && name != "text" && name != "less" {
			continue
		}
		for _, size := range [][2]int{{60, 24}, {120, 30}, {80, 10}, {37, 12}, {80, 40}, {100, 20}} {
			for _, at := range []int{200, len(p) / 2, len(p)} {
				examples = append(examples, example{name: fmt.Sprintf("%s, %v at %d", name, size, at), cols: 80, rows: 24, output: []op{{W: p[:at]}, {R: &size}}, cut: at / 2, then: []op{{W: p[at:min(len(p), at+1000)]}}})
			}
		}
	}
	check(t, examples)
}
