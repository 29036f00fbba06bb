package web

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"scrier/wire"
)

// maxBody is many times what any request needs.
const maxBody = 64 << 10

// whole reads a request's body, which can then be read again.
func whole(r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r.Body, maxBody+1))
	if err != nil {
		return nil, &wire.Error{Code: wire.BadRequest, Detail: "the request's body did not arrive", Err: err}
	}
	if len(data) > maxBody {
		return nil, wire.Errorf(wire.BadRequest, "a request has at most %d bytes", maxBody)
	}
	r.Body = io.NopCloser(bytes.NewReader(data))
	return data, nil
}

// body reads a request's JSON strictly.
func body[T any](r *http.Request) (T, error) {
	var v T
	d := json.NewDecoder(r.Body)
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		return v, &wire.Error{Code: wire.BadRequest, Detail: wire.Printable(malformed(err)), Err: err}
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return v, wire.Errorf(wire.BadRequest, "the request goes on behind its JSON")
	}
	return v, nil
}

// malformed says in words of JSON what is wrong with a request's.
func malformed(err error) string {
	if e, ok := errors.AsType[*wire.Error](err); ok { // a value that has a form of its own
		return e.Detail
	}
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok {
		return fmt.Sprintf("%s is %s, and should be %s", cmp.Or(e.Field, "the request"), e.Value, jsonType(e.Type))
	}
	if _, ok := errors.AsType[*time.ParseError](err); ok {
		return "a time is written like 2026-11-23T16:46:16Z"
	}
	if name, ok := strings.CutPrefix(err.Error(), "json: unknown field "); ok {
		return "there is no field " + name
	}
	if e, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return fmt.Sprintf("a request has at most %d bytes", e.Limit)
	}
	if errors.Is(err, io.EOF) {
		return "the request has no JSON"
	}
	if errors.Is(err, io.ErrUnexpectedEOF) {
		return "the request's JSON breaks off"
	}
	return "the request is no JSON: " + strings.TrimPrefix(err.Error(), "json: ")
}

// jsonType is what a Go type is called in JSON.
func jsonType(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Slice, reflect.Array:
		return "a list"
	case reflect.Struct, reflect.Map, reflect.Pointer:
		return "an object"
	case reflect.String:
		return "a string"
	case reflect.Uint8, reflect.Uint16, reflect.Uint32:
		return fmt.Sprintf("a whole number from 0 to %d", uint64(1)<<t.Bits()-1)
	}
	return "a number"
}
