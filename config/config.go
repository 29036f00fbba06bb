// Package config reads Scrier's configuration files: strict YAML. An unknown key, a key given
// twice or a value of the wrong type is an error that names the line; nothing is guessed.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"reflect"
	"regexp"
	"strings"

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
// error unless it was asked for by name. Errors are [wire.BadConfig]; manual is the document that says what may
// stand in the file.
func Load(path, manual string, named bool, c Checker) error {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && !named {
		return nil
	}
	if err != nil {
		e := &wire.Error{Code: wire.BadConfig, Detail: err.Error(), Err: err}
		if named {
			return e.Advise("--config names a file that is there and that this user may read; without it the defaults will do")
		}
		return e.Advise("run this as root or as the user whose state directory it is, or name another with --state")
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
		told, way := yaml.FormatError(err, false, true), ""
		if e, ok := errors.AsType[*wire.Error](err); ok { // of its own it says a code first, which this is not
			told = wire.DetailOf(e)
			if e.Advice != "" {
				way = e.Advice + "; "
			}
		}
		told = withoutPasswords(told)
		e := &wire.Error{Code: wire.BadConfig, Detail: path + ": " + told, Err: errors.New(told)}
		return e.Advise("%s%s says what may stand in it", way, manual)
	}
	return nil
}

// withoutPasswords takes user and password out of all URLs in a text, whatever they are made of: errors repeat the lines
// around a mistake, and end up in logs.
func withoutPasswords(text string) string { return inURL.ReplaceAllString(text, "//…@") }

var inURL = regexp.MustCompile(`//.*@`)

func decode(data []byte, c Checker) error {
	file, err := parser.ParseBytes(data, 0)
	if err != nil {
		return plain(err)
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
	var fractions fractions
	ast.Walk(&fractions, body)
	if fractions.first != nil {
		return &yaml.SyntaxError{Message: "this is a fraction, and nothing here takes one", Token: fractions.first.GetToken()}
	}
	return plain(yaml.NodeToValue(body, c, yaml.Strict()))
}

// fractions finds the first fraction in a document: the library would cut it to a whole number.
type fractions struct{ first ast.Node }

func (f *fractions) Visit(n ast.Node) ast.Visitor {
	if _, ok := n.(*ast.FloatNode); ok && f.first == nil {
		f.first = n
	}
	return f
}

// plain says in words of the file what the library says in words of Go.
func plain(err error) error {
	if e, ok := errors.AsType[*yaml.TypeError](err); ok {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%s is expected here, and this is %s", noun(e.DstType), noun(e.SrcType)), Token: e.Token}
	}
	if e, ok := errors.AsType[*yaml.UnexpectedNodeTypeError](err); ok {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%s is expected here, and this is %s", nodeNoun(e.Expected), nodeNoun(e.Actual)), Token: e.Token}
	}
	if e, ok := errors.AsType[*yaml.UnknownFieldError](err); ok {
		return &yaml.SyntaxError{Message: strings.Replace(e.Message, "unknown field", "unknown key", 1), Token: e.Token}
	}
	if e, ok := errors.AsType[*yaml.SyntaxError](err); ok && (strings.Contains(e.Message, "tab character") || strings.Contains(e.Message, "'\t'")) {
		return &yaml.SyntaxError{Message: "a tab stands here, and YAML wants spaces", Token: e.Token}
	}
	if e, ok := errors.AsType[*yaml.SyntaxError](err); ok && strings.Contains(e.Message, "end token") {
		_, sign, _ := strings.Cut(e.Message, "end token ")
		sign, _, _ = strings.Cut(sign, " ")
		return &yaml.SyntaxError{Message: sign + ", which ends what begins here, is missing", Token: e.Token}
	}
	if e, ok := errors.AsType[*yaml.OverflowError](err); ok {
		return &yaml.SyntaxError{Message: fmt.Sprintf("%s is too large or too small here", e.SrcNum), Token: e.Token}
	}
	return err
}

func nodeNoun(t ast.NodeType) string {
	switch t {
	case ast.BoolType:
		return "true or false"
	case ast.IntegerType:
		return "a whole number"
	case ast.FloatType, ast.InfinityType, ast.NanType:
		return "a number"
	case ast.StringType, ast.LiteralType:
		return "text"
	case ast.SequenceType, ast.SequenceEntryType:
		return "a list"
	case ast.MappingType, ast.MappingKeyType, ast.MappingValueType:
		return "a block of keys"
	default:
		return t.YAMLName()
	}
}

func noun(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "text"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Map, reflect.Struct:
		return "a block of keys"
	case reflect.Pointer:
		return noun(t.Elem())
	case reflect.Float32, reflect.Float64:
		return "a number"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "a whole number"
	default:
		return "another kind of value"
	}
}
