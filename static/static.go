// Package static holds the pages that browsers get: TypeScript in src, built into dist by
// `node build.mjs`, embedded here as it is. dist is not committed; a program that was built
// without it has no pages, and says so.
package static

import (
	"embed"
	"io/fs"
)

// all: also .gitkeep, without which an empty dist would not compile.
//
//go:embed all:dist
var dist embed.FS

// Files are the contents of dist.
func Files() fs.FS {
	sub, err := fs.Sub(dist, "dist")
	if err != nil {
		panic(err) // the name is a valid one
	}
	return sub
}

// Built says whether the pages are there.
func Built() bool {
	_, err := fs.Stat(Files(), "app.html")
	return err == nil
}
