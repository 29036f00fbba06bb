package transfer_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"scrier/client/transfer"
)

// random are n bytes that compress badly.
func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}

// fileSum is what an envoy's command tells.
func fileSum(home string) func(ctx context.Context, path string, n int64) ([]byte, error) {
	return func(_ context.Context, path string, n int64) ([]byte, error) {
		if !filepath.IsAbs(path) {
			path = filepath.Join(home, path)
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, err
		}
		defer f.Close()
		h := sha256.New()
		if _, err := io.CopyN(h, f, n); err != nil {
			return nil, err
		}
		return h.Sum(nil), nil
	}
}

const bigSize = 20 << 20

// A copy whose connection breaks leaves a part and no target; --continue goes on there and ends with the same file.
func TestContinue(t *testing.T) {
	for _, way := range []string{"up", "down", "between"} {
		for _, sums := range []bool{true, false} {
			name := way
			if sums {
				name += " with sums"
			}
			t.Run(name, func(t *testing.T) {
				s := newSite(t)
				data := random(bigSize)
				third := t.TempDir()
				newRemote := func(home string) *transfer.Remote {
					cfg := transfer.RemoteConfig{Name: "web", Conn: server(t, home)}
					if sums {
						cfg.Sum = fileSum(home)
					}
					return remoteOf(t, cfg)
				}
				var from, to, broken transfer.Place
				var path, target string
				connect := func() {
					there := newRemote(s.there)
					switch way {
					case "up":
						from, to, broken, path, target = s.local, there, there, filepath.Join(s.here, "f"), s.there
					case "down":
						from, to, broken, path, target = there, s.local, there, "f", s.here
					case "between":
						from, to, path, target = there, newRemote(third), "f", third
						broken = to
					}
				}
				connect()
				write(t, filepath.Join(map[string]string{"up": s.here, "down": s.there, "between": s.there}[way], "f"), string(data))
				dst := "copy"
				if way == "down" {
					dst = filepath.Join(s.here, "copy")
				}
				lost := errors.New("the cable was pulled")
				p := &told{on: func(_ *transfer.File, offset int64) {
					if offset > bigSize/2 {
						broken.(*transfer.Remote).End(lost)
					}
				}}
				sum, err := transfer.Run(t.Context(), []transfer.Source{{Place: from, Path: path}}, to, dst, transfer.Options{Progress: p})
				if !errors.Is(err, lost) || !sum.Parts {
					t.Fatalf("the copy ended with %+v, %v", sum, err)
				}
				if _, err := os.Stat(filepath.Join(target, "copy")); err == nil {
					t.Error("the target is there")
				}
				part, err := os.Stat(filepath.Join(target, transfer.PartName("copy")))
				if err != nil || part.Size() < bigSize/4 {
					t.Fatalf("the part is %v, %v", part, err)
				}
				connect()
				p = &told{}
				sum = run(t, p, []transfer.Source{{Place: from, Path: path}}, to, dst, transfer.Options{Continue: true})
				if sum.Copied != 1 || sum.Moved > bigSize-part.Size() {
					t.Errorf("%+v; %d were there", sum, part.Size())
				}
				if line := p.sorted()[0]; !strings.HasPrefix(line, "continued ") {
					t.Error(line)
				}
				if read(t, filepath.Join(target, "copy")) != string(data) {
					t.Error("it is another file")
				}
				noParts(t, third)
			})
		}
	}
}

// What is there is believed only as far as it is the same.
func TestContinueChecks(t *testing.T) {
	for _, sums := range []bool{true, false} {
		s := newSite(t)
		cfg := transfer.RemoteConfig{Name: "web1", Conn: server(t, s.there)}
		if sums {
			cfg.Sum = fileSum(s.there)
		}
		s.remote = remoteOf(t, cfg)
		data := random(300_000)
		write(t, filepath.Join(s.here, "f"), string(data))
		part := filepath.Join(s.there, transfer.PartName("f"))
		other := append([]byte(nil), data[:200_000]...)
		other[150_000] ^= 1
		for name, there := range map[string][]byte{"changed": other, "longer": append(append([]byte(nil), data...), "more"...), "whole": data, "empty": nil, "other": []byte("x")} {
			if err := os.WriteFile(part, there, 0o644); err != nil {
				t.Fatal(err)
			}
			_ = os.Remove(filepath.Join(s.there, "f"))
			s.up(transfer.Options{Continue: true}, "f", "f")
			if read(t, filepath.Join(s.there, "f")) != string(data) {
				t.Errorf("%s: it is another file", name)
			}
		}
		// Without --continue nothing is believed.
		write(t, part, string(data[:200_000]))
		if sum := s.up(transfer.Options{}, "f", "f"); sum.Moved != 300_000 {
			t.Errorf("%d bytes were moved", sum.Moved)
		}
		// A file that is whole is left alone: by its time, or by its sum.
		when := time.Unix(1_000_000_000, 0)
		for _, f := range []string{filepath.Join(s.here, "f"), filepath.Join(s.there, "f")} {
			if err := os.Chtimes(f, when, when); err != nil {
				t.Fatal(err)
			}
		}
		if sum := s.up(transfer.Options{Continue: true}, "f", "f"); sum.Kept != 1 || sum.Moved != 0 {
			t.Errorf("by its time: %+v", sum)
		}
		if err := os.Chtimes(filepath.Join(s.there, "f"), time.Now(), time.Now()); err != nil {
			t.Fatal(err)
		}
		sum := s.up(transfer.Options{Continue: true, Preserve: true}, "f", "f")
		if sums && (sum.Kept != 1 || sum.Moved != 0) || !sums && sum.Copied != 1 {
			t.Errorf("by its sum (%v): %+v", sums, sum)
		}
		if info, err := os.Stat(filepath.Join(s.there, "f")); err != nil || !info.ModTime().Equal(when) {
			t.Errorf("it has the time %v, %v", info.ModTime(), err)
		}
		// A source that has changed is copied.
		changed := append([]byte(nil), data...)
		changed[7] ^= 1
		write(t, filepath.Join(s.here, "f"), string(changed))
		s.up(transfer.Options{Continue: true}, "f", "f")
		s.wants(s.there, "f", string(changed))
	}
}

// The end of the context ends all; a part stays, and nothing else.
func TestCancel(t *testing.T) {
	s := newSite(t)
	write(t, filepath.Join(s.here, "f"), string(random(bigSize)))
	ctx, cancel := context.WithCancel(t.Context())
	p := &told{on: func(_ *transfer.File, offset int64) {
		if offset > bigSize/2 {
			cancel()
		}
	}}
	sum, err := transfer.Run(ctx, []transfer.Source{{Place: s.local, Path: filepath.Join(s.here, "f")}}, s.remote, "f", transfer.Options{Progress: p})
	if !errors.Is(err, context.Canceled) || !sum.Parts {
		t.Errorf("%+v, %v", sum, err)
	}
	entries, err := os.ReadDir(s.there)
	if err != nil || len(entries) != 1 || entries[0].Name() != transfer.PartName("f") {
		t.Errorf("there is %v, %v", entries, err)
	}
	_ = os.Remove(filepath.Join(s.there, transfer.PartName("f")))
}

// Two copies to the same file: one wins, as a whole.
func TestTwoCopies(t *testing.T) {
	s := newSite(t)
	a, b := random(bigSize), random(bigSize + 1)[1:]
	write(t, filepath.Join(s.here, "a"), string(a))
	write(t, filepath.Join(s.here, "b"), string(b))
	second := remote(t, s.there)
	started := make(chan struct{})
	var once atomic.Bool
	slow := make(chan struct{})
	p := &told{on: func(_ *transfer.File, offset int64) {
		if offset > bigSize/2 && once.CompareAndSwap(false, true) {
			close(started)
			<-slow
		}
	}}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, err := transfer.Run(t.Context(), []transfer.Source{{Place: s.local, Path: filepath.Join(s.here, "a")}}, s.remote, "f", transfer.Options{Progress: p})
		if err != nil {
			t.Error(err)
		}
	}()
	<-started
	halfway := make(chan struct{})
	var half atomic.Bool
	q := &told{on: func(_ *transfer.File, offset int64) {
		if offset > bigSize/4 && half.CompareAndSwap(false, true) {
			close(slow) // the first one ends while the second has half of it
			<-ended
			close(halfway)
		}
	}}
	sum, err := transfer.Run(t.Context(), []transfer.Source{{Place: s.local, Path: filepath.Join(s.here, "b")}}, second, "f", transfer.Options{Progress: q})
	if err != nil {
		t.Fatal(err)
	}
	<-halfway
	if sum.Copied != 1 {
		t.Errorf("the second: %+v %q", sum, q.ends)
	}
	p.wants(t, "failed "+s.here+"/a: web1:f: somebody else copies to the same file")
	if read(t, filepath.Join(s.there, "f")) != string(b) {
		t.Error("it is no whole file")
	}
}

// A copy whose connection is lost goes on over another one, at the byte where it was; with a sum or without.
func TestAgain(t *testing.T) {
	for _, way := range []string{"up", "down", "between"} {
		for _, sums := range []bool{true, false} {
			name := way
			if sums {
				name += " with sums"
			}
			t.Run(name, func(t *testing.T) {
				s := newSite(t)
				data, third := random(bigSize), t.TempDir()
				newRemote := func(home string) *transfer.Remote {
					cfg := transfer.RemoteConfig{Name: "web", Conn: server(t, home)}
					if sums {
						cfg.Sum = fileSum(home)
					}
					return remoteOf(t, cfg)
				}
				path, dst, target := "f", "copy", s.there
				var broken *transfer.Remote
				connect := func() (from, to transfer.Place) {
					broken = newRemote(s.there)
					switch way {
					case "up":
						path = filepath.Join(s.here, "f")
						return s.local, broken
					case "down":
						target, dst = s.here, filepath.Join(s.here, "copy")
						return broken, s.local
					}
					target = third
					return broken, newRemote(third)
				}
				from, to := connect()
				write(t, filepath.Join(map[string]string{"up": s.here, "down": s.there, "between": s.there}[way], "f"), string(data))
				lost, losses := errors.New("the cable was pulled"), 0
				var next atomic.Int64
				next.Store(bigSize / 2)
				p := &told{on: func(_ *transfer.File, offset int64) {
					if at := next.Load(); offset > at && next.CompareAndSwap(at, at+bigSize/5) {
						broken.End(lost)
					}
				}}
				sum := run(t, p, []transfer.Source{{Place: from, Path: path}}, to, dst, transfer.Options{Again: func(_ context.Context, why error) ([]transfer.Place, error) {
					losses++
					if !errors.Is(why, lost) {
						t.Errorf("it was lost because of %v", why)
					}
					part, err := os.Stat(filepath.Join(target, transfer.PartName("copy")))
					if err != nil || part.Size() < bigSize/4 {
						t.Errorf("the part is %v, %v", part, err)
					}
					from, to := connect()
					return []transfer.Place{from, to}, nil
				}})
				if losses < 1 || sum.Copied != 1 || sum.Failed != 0 || sum.Moved > bigSize*2 {
					t.Errorf("%+v after %d losses", sum, losses)
				}
				p.wants(t, "continued ")
				if read(t, filepath.Join(target, "copy")) != string(data) {
					t.Error("it is another file")
				}
				noParts(t, s.here, s.there, third)
			})
		}
	}
}

// What was copied before a connection was lost is not copied again, and a folder that was made by then stays the one that was meant.
func TestAgainTree(t *testing.T) {
	s := newSite(t)
	for i := range 300 {
		write(t, filepath.Join(s.here, "d", strings.Repeat("s", 1+i%7), strings.Repeat("f", 1+i)[:min(1+i, 200)]+filepath.Ext("."+string(rune('a'+i%26)))), string(random(1000+i)))
	}
	if err := os.Chmod(filepath.Join(s.here, "d/ss"), 0o500); err != nil {
		t.Fatal(err)
	}
	want := look(t, filepath.Join(s.here, "d"))
	var broken *transfer.Remote
	connect := func() *transfer.Remote {
		broken = remote(t, s.there)
		return broken
	}
	began, losses := atomic.Int64{}, 0
	p := &told{on: func(*transfer.File, int64) {
		if n := began.Add(1); n == 150 || n == 400 {
			broken.End(io.ErrUnexpectedEOF)
		}
	}}
	from := []transfer.Source{{Place: s.local, Path: filepath.Join(s.here, "d")}}
	sum := run(t, p, from, connect(), "new", transfer.Options{Recursive: true, Again: func(context.Context, error) ([]transfer.Place, error) {
		losses++
		return []transfer.Place{s.local, connect()}, nil
	}})
	if losses == 0 || sum.Failed != 0 {
		t.Errorf("%+v after %d losses", sum, losses)
	}
	if got := look(t, filepath.Join(s.there, "new")); got != want {
		t.Errorf("the tree is\n%s\nand was\n%s", got, want)
	}
	if info, err := os.Stat(filepath.Join(s.there, "new/ss")); err != nil || info.Mode().Perm() != 0o500 {
		t.Errorf("%v, %v", info, err)
	}
	if n := int64(len(p.sorted())); n != sum.Copied {
		t.Errorf("%d files were told, and %d copied", n, sum.Copied)
	}
	noParts(t, s.there)
}

// Whoever cannot connect again says why, and what was copied is left for later.
func TestAgainFails(t *testing.T) {
	s := newSite(t)
	write(t, filepath.Join(s.here, "f"), string(random(bigSize)))
	s.told.on = func(_ *transfer.File, offset int64) {
		if offset > bigSize/2 {
			s.remote.End(io.ErrUnexpectedEOF)
		}
	}
	no := errors.New("no relay any more")
	sum, err := transfer.Run(t.Context(), []transfer.Source{{Place: s.local, Path: filepath.Join(s.here, "f")}}, s.remote, "f", transfer.Options{
		Progress: s.told, Again: func(context.Context, error) ([]transfer.Place, error) { return nil, no },
	})
	if !errors.Is(err, no) || !sum.Parts {
		t.Errorf("%+v, %v", sum, err)
	}
	if err := os.Remove(filepath.Join(s.there, transfer.PartName("f"))); err != nil {
		t.Error(err)
	}
}
