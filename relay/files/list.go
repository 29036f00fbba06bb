package files

import (
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	client "github.com/pkg/sftp"

	"scrier/wire"
)

// Kind is what stands under a name.
type Kind string

// The kinds.
const (
	File   Kind = "file"
	Folder Kind = "dir"
	Link   Kind = "link"
	Other  Kind = "other" // a device, a socket, a pipe
)

// Kinds lists them all.
func Kinds() []Kind { return []Kind{File, Folder, Link, Other} }

// Entry is what a folder has under one name.
type Entry struct {
	Name     string    `json:"name"`          // bytes that are not UTF-8 are replaced
	Raw      []byte    `json:"raw,omitempty"` // the name as it is, if it is not UTF-8
	Kind     Kind      `json:"kind"`
	To       Kind      `json:"to,omitempty"` // link: what it leads to; missing if that is nothing
	Size     uint64    `json:"size"`
	Mode     string    `json:"mode"` // octal, e.g. 0644
	Modified time.Time `json:"modified"`
}

// Listing is a folder's content.
type Listing struct {
	Path    string  `json:"path"` // absolute, and without links
	Raw     []byte  `json:"raw,omitempty"`
	Entries []Entry `json:"entries"` // by name, without . and ..
	More    bool    `json:"more"`    // there are more than these 10,000
}

const (
	// maxEntries is how many entries a listing has.
	maxEntries = 10_000
	// maxLinks is how many links of a folder are followed.
	maxLinks = 1000
)

// MaxPath is how long a path may be, in bytes, as on Linux.
const MaxPath = 4096

// check refuses a path that no machine takes; "" is the home.
func check(name string) (string, error) {
	switch {
	case len(name) > MaxPath:
		return "", wire.Errorf(wire.BadRequest, "a path has at most %d bytes", MaxPath)
	case strings.IndexByte(name, 0) >= 0:
		return "", wire.Errorf(wire.BadRequest, "a path holds no NUL byte")
	}
	if bare := strings.TrimRight(name, "/"); bare != "" {
		name = bare // a link is meant itself, and not what it leads to
	}
	return cmp.Or(name, "."), nil
}

// text is a name as JSON can have it, with the name itself if that is not the same.
func text(name string) (string, []byte) {
	if utf8.ValidString(name) {
		return name, nil
	}
	return strings.ToValidUTF8(name, "\ufffd"), []byte(name)
}

// List reads a folder.
func (m *Machine) List(ctx context.Context, name string) (Listing, error) {
	name, err := check(name)
	if err != nil {
		return Listing{}, err
	}
	full, err := m.RealPath(name)
	if err != nil {
		return Listing{}, m.fault(err, toList, name)
	}
	infos, err := m.read(ctx, full)
	if err != nil {
		return Listing{}, err
	}
	var l Listing
	l.Path, l.Raw = text(full)
	if l.More = len(infos) > maxEntries; l.More {
		infos = infos[:maxEntries]
	}
	l.Entries = make([]Entry, len(infos))
	var links []int
	for i, info := range infos {
		e := Entry{Kind: kindOf(info.Mode()), Size: uint64(info.Size()), Mode: octal(info), Modified: info.ModTime().UTC()}
		e.Name, e.Raw = text(info.Name())
		l.Entries[i] = e
		if e.Kind == Link && len(links) < maxLinks {
			links = append(links, i)
		}
	}
	var wg sync.WaitGroup
	for group := range slices.Chunk(links, max(1, (len(links)+maxParallel-1)/maxParallel)) {
		wg.Go(func() {
			_ = m.files.Panics.Contain("files", func() error {
				for _, i := range group {
					if to, err := m.Stat(path.Join(full, infos[i].Name())); err == nil && ctx.Err() == nil {
						l.Entries[i].To = kindOf(to.Mode())
					}
				}
				return nil
			})
		})
	}
	wg.Wait()
	return l, nil
}

// read gives a folder's entries by name, at most about [maxNames].
func (m *Machine) read(ctx context.Context, folder string) ([]fs.FileInfo, error) {
	infos, err := m.ReadDirContext(ctx, folder)
	if err != nil {
		if info, serr := m.Stat(folder); serr == nil && !info.IsDir() {
			return nil, wire.Errorf(wire.BadRequest, "%s is no folder", wire.Printable(folder))
		}
		return nil, m.fault(err, toList, folder)
	}
	infos = slices.DeleteFunc(infos, func(i fs.FileInfo) bool { return i.Name() == "/" || i.Name() == "." || i.Name() == ".." }) // no names
	slices.SortFunc(infos, func(a, b fs.FileInfo) int { return strings.Compare(a.Name(), b.Name()) })
	return infos, nil
}

func kindOf(m os.FileMode) Kind {
	switch m.Type() {
	case 0:
		return File
	case fs.ModeDir:
		return Folder
	case fs.ModeSymlink:
		return Link
	}
	return Other
}

func octal(info fs.FileInfo) string {
	if s, ok := info.Sys().(*client.FileStat); ok {
		return fmt.Sprintf("%04o", s.Mode&0o7777)
	}
	return fmt.Sprintf("%04o", info.Mode().Perm())
}
