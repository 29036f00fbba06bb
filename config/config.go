// Package config reads Scrier's configuration files: strict YAML. An unknown key, a key given
// twice or a value of the wrong type is an error that names the line; nothing is guessed.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"scrier/wire"
)

// maxSize is far more than any configuration needs, in bytes.
const maxSize = 1 << 20

// Checker is a configuration that knows what its values may be.
type Checker interface{ Check() error }

// Load reads the file at path over the defaults that are in c. A file that does not exist is no
// error unless it was asked for by name. Errors are [wire.BadConfig].
func Load(path string, named bool, c Checker) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		return &wire.Error{Code: wire.BadConfig, Detail: err.Error(), Err: err}
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxSize+1))
	if err == nil && len(data) > maxSize {
		err = fmt.Errorf("it is longer than %d bytes", maxSize)
	}
	if err == nil {
		err = decode(data, c)
	}
	if err == nil {
		err = c.Check()
	}
	if err != nil {
		return &wire.Error{Code: wire.BadConfig, Detail: path + ": " + yaml.FormatError(err, false, true), Err: err}
	}
	return nil
}

func decode(data []byte, c Checker) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return err
	}
	var body ast.Node
	for _, doc := range file.Docs {
		if doc.Body == nil || doc.Body.Type() == ast.NullType || doc.Body.Type() == ast.CommentType {
			continue // nothing, or comments alone: the defaults hold
		}
		if body != nil {
			return errors.New("there is more than one document in it")
		}
		body = doc.Body
	}
	if body == nil {
		return nil
	}
	return yaml.NodeToValue(body, c, yaml.Strict())
}
