package web

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// Compressed are lists that are read, and nothing that holds what lets somebody in: its letters could be
// guessed by the answer's length.
func TestWhatIsPacked(t *testing.T) {
	var packed []string
	for _, r := range (&api{}).routes() {
		if !r.packs {
			continue
		}
		packed = append(packed, r.method+" "+r.pattern)
		if r.verb == anyone || r.raw != nil || r.signed || r.challenge {
			t.Errorf("%s %s is compressed", r.method, r.pattern)
		}
		for _, name := range fields(reflect.TypeOf(r.out)) {
			for _, secret := range []string{"token", "ticket", "link", "cookie", "secret", "challenge", "password"} {
				if strings.Contains(strings.ToLower(name), secret) {
					t.Errorf("%s %s is compressed, and answers with %s", r.method, r.pattern, name)
				}
			}
		}
	}
	slices.Sort(packed)
	if want := []string{"GET /audit", "GET /envoys", "GET /sessions", "GET /start", "GET /users"}; !slices.Equal(packed, want) {
		t.Errorf("compressed are %q, not %q", packed, want)
	}
}

// fields are the names in a type of answers, and in what it is made of.
func fields(t reflect.Type) (names []string) {
	switch t.Kind() {
	case reflect.Slice, reflect.Pointer:
		return fields(t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			f := t.Field(i)
			if f.IsExported() && f.Tag.Get("json") != "-" {
				names = append(append(names, f.Name), fields(f.Type)...)
			}
		}
	}
	return names
}

func TestPack(t *testing.T) {
	a := &api{}
	long := strings.Repeat("web1.example.com ", 500)
	get := func(accept string, v any) *httptest.ResponseRecorder {
		r, w := httptest.NewRequest("GET", "/api/v1/envoys", nil), httptest.NewRecorder()
		if accept != "" {
			r.Header.Set("Accept-Encoding", accept)
		}
		a.pack(w, r, v)
		return w
	}
	read := func(w *httptest.ResponseRecorder) (v string) {
		t.Helper()
		var body io.Reader = w.Body
		if w.Header().Get("Content-Encoding") == "gzip" {
			z, err := gzip.NewReader(body)
			if err != nil {
				t.Fatal(err)
			}
			body = z
		}
		if err := json.NewDecoder(body).Decode(&v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	for _, c := range []struct {
		accept, v string
		packed    bool
	}{
		{"gzip, deflate, br", long, true},
		{"br", long, false},
		{"gzip;q=0", long, false},
		{"", long, false},
		{"gzip", "short", false},
	} {
		w := get(c.accept, c.v)
		if got := w.Header().Get("Content-Encoding") == "gzip"; got != c.packed || w.Header().Get("Vary") != "Accept-Encoding" {
			t.Errorf("%q, %d letters: headers %v", c.accept, len(c.v), w.Header())
		}
		if c.packed && w.Body.Len() > len(c.v)/4 {
			t.Errorf("%d bytes of %d are left", w.Body.Len(), len(c.v))
		}
		if got := read(w); got != c.v {
			t.Errorf("%q: %d letters came of %d", c.accept, len(got), len(c.v))
		}
	}
	lengths := map[int]bool{}
	for range 50 {
		lengths[get("gzip", long).Body.Len()] = true
	}
	if len(lengths) < 10 {
		t.Errorf("50 answers have %d lengths: who watches them learns what they hold", len(lengths))
	}
}
