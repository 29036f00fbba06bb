package files

import (
	"archive/zip"
	"compress/flate"
	"context"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"time"
	"unicode/utf8"

	"scrier/wire"
)

// Archive is files and folders that are packed into one zip.
type Archive struct {
	Name    string // that it may be called, without folders
	machine *Machine
	roots   []root
}

type root struct {
	path string
	name string // in the archive
	info fs.FileInfo
}

// maxRoots is how many things one archive is made of.
const maxRoots = 1000

// Archive prepares a zip of what stands under these names.
func (m *Machine) Archive(names []string) (*Archive, error) {
	if len(names) == 0 || len(names) > maxRoots {
		return nil, wire.Errorf(wire.BadRequest, "an archive is made of 1 to %d paths", maxRoots)
	}
	a := &Archive{machine: m, Name: "files.zip"}
	taken := map[string]bool{}
	for _, name := range names {
		full, err := check(name)
		if err != nil {
			return nil, err
		}
		info, err := m.Lstat(full)
		if err != nil {
			return nil, m.fault(err, toRead, full)
		}
		base := path.Base(path.Clean(full))
		if base == "." || base == ".." || base == "/" { // by its own name
			if full, err = m.RealPath(full); err != nil {
				return nil, m.fault(err, toRead, name)
			}
			if base = path.Base(full); base == "/" {
				base = "root"
			}
		}
		stem, unique := plain(base), ""
		for n := 2; taken[stem+unique]; n++ {
			unique = fmt.Sprintf(" (%d)", n)
		}
		taken[stem+unique] = true
		a.roots = append(a.roots, root{full, stem + unique, info})
	}
	if len(a.roots) == 1 {
		a.Name = a.roots[0].name + ".zip"
	}
	return a, nil
}

// plain is a name as it can stand in an archive for every system.
func plain(name string) string { return strings.ReplaceAll(name, `\`, "_") }

// Write writes the zip. What could not be read is listed in a file at the end of it. An error means that the zip is not
// whole.
func (a *Archive) Write(ctx context.Context, w io.Writer) error {
	z := zip.NewWriter(w)
	z.RegisterCompressor(zip.Deflate, func(w io.Writer) (io.WriteCloser, error) { return flate.NewWriter(w, flate.BestSpeed) })
	p := packer{Machine: a.machine, ctx: ctx, zip: z}
	for _, r := range a.roots {
		if err := p.add(r.path, r.name, r.info, 0); err != nil {
			return err
		}
	}
	if err := p.note(); err != nil {
		return err
	}
	return z.Close()
}

type packer struct {
	*Machine
	ctx     context.Context
	zip     *zip.Writer
	held    int // entries of folders that wait for their turn
	missing strings.Builder
	unnamed int // of those, how many found no place in it
}

const (
	// maxMissing bounds the list of what is not in an archive, in bytes.
	maxMissing = 1 << 20
	// maxPending is how many entries of the folders above what is packed wait, of all depths.
	maxPending = 4 * maxNames
	// missingName is the list's name.
	missingName = "NOT IN THIS ARCHIVE.txt"
)

// miss notes what is not there. Only what ends the whole work is an error.
func (p *packer) miss(name string, err error) error {
	if p.ctx.Err() != nil {
		return wire.Cause(p.ctx, wire.Cancelled)
	}
	select {
	case <-p.channel.over:
		return p.channel.why
	default:
	}
	if p.missing.Len() > maxMissing {
		p.unnamed++
		return nil
	}
	said := wire.DetailOf(err)
	if said == "" {
		said = wire.Printable(name) + ": " + wire.CodeOf(err).Meaning()
	}
	p.missing.WriteString(said + "\n")
	return nil
}

// note adds the list of what is not there.
func (p *packer) note() error {
	if p.missing.Len() == 0 {
		return nil
	}
	f, err := p.zip.CreateHeader(&zip.FileHeader{Name: missingName, Method: zip.Deflate, Modified: time.Now()})
	if err != nil {
		return err
	}
	if p.unnamed > 0 {
		fmt.Fprintf(&p.missing, "and %d more\n", p.unnamed)
	}
	_, err = io.WriteString(f, p.missing.String())
	return err
}

// entryOf begins an entry.
func entryOf(name string, info fs.FileInfo) *zip.FileHeader {
	h := &zip.FileHeader{Name: name, Method: zip.Deflate, Modified: info.ModTime(), NonUTF8: !utf8.ValidString(name)}
	h.SetMode(info.Mode())
	return h
}

// small packs a file that was read ahead.
func (p *packer) small(full, name string, info fs.FileInfo, content fetched) error {
	if content.err != nil {
		return p.miss(full, content.err)
	}
	f, err := p.zip.CreateHeader(entryOf(name, info))
	if err == nil {
		_, err = f.Write(content.data)
	}
	return err
}

// add packs what stands under a name.
func (p *packer) add(full, name string, info fs.FileInfo, depth int) error {
	h := entryOf(name, info)
	switch kindOf(info.Mode()) {
	case Folder:
		return p.folder(full, h, depth)
	case File:
		return p.file(full, h)
	case Link:
		to, err := p.ReadLink(full)
		if err != nil {
			return p.miss(full, p.fault(err, toRead, full))
		}
		f, err := p.zip.CreateHeader(h)
		if err != nil {
			return err
		}
		_, err = io.WriteString(f, to)
		return err
	}
	return p.miss(full, wire.Errorf(wire.FileFailed, "%s: it is a device, a pipe or a socket", wire.Printable(full)))
}

func (p *packer) file(full string, h *zip.FileHeader) error {
	file, _, err := p.open(full)
	if err != nil {
		return p.miss(full, err)
	}
	defer file.Close() // it was only read
	f, err := p.zip.CreateHeader(h)
	if err != nil {
		return err
	}
	out := &taking{w: f}
	n, err := file.WriteTo(out)
	switch {
	case out.err != nil:
		return out.err
	case err != nil:
		return p.miss(full, wire.Errorf(wire.FileFailed, "%s: it could only be read up to byte %d", wire.Printable(full), n))
	}
	return nil
}

// taking tells errors of who takes the archive from those of reading.
type taking struct {
	w   io.Writer
	err error
}

func (t *taking) Write(b []byte) (int, error) {
	n, err := t.w.Write(b)
	if err != nil {
		t.err = err
	}
	return n, err
}

func (p *packer) folder(full string, h *zip.FileHeader, depth int) error {
	name := h.Name
	h.Name, h.Method = name+"/", zip.Store
	if _, err := p.zip.CreateHeader(h); err != nil {
		return err
	}
	if depth > maxDepth {
		return p.miss(full, wire.Errorf(wire.FileFailed, "%s: it is too deep", wire.Printable(full)))
	}
	infos, err := p.read(p.ctx, full)
	if err != nil {
		return p.miss(full, err)
	}
	if p.held+len(infos) > maxPending {
		return p.miss(full, wire.Errorf(wire.FileFailed, "%s: the folders above it have too many entries", wire.Printable(full)))
	}
	p.held += len(infos)
	defer func() { p.held -= len(infos) }()
	ahead := p.ahead(full, infos)
	defer ahead.stop()
	for i, info := range infos {
		if p.ctx.Err() != nil {
			return wire.Cause(p.ctx, wire.Cancelled)
		}
		inner, packed := path.Join(full, info.Name()), name+"/"+plain(info.Name())
		if content, ok := ahead.take(i); ok {
			err = p.small(inner, packed, info, content)
		} else {
			err = p.add(inner, packed, info, depth+1)
		}
		if err != nil {
			return err
		}
	}
	if len(infos) >= maxNames-2 {
		return p.miss(full, wire.Errorf(wire.FileFailed, "%s: it has more entries than these %d", wire.Printable(full), len(infos)))
	}
	return nil
}
