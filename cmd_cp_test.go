//go:build !agentonly

package main

import (
	"runtime"
	"testing"

	"scrier/wire"
)

func TestParseEnd(t *testing.T) {
	for arg, want := range map[string]cpEnd{
		"file":            {path: "file"},
		"./a:b":           {path: "./a:b"},
		"/a:b":            {path: "/a:b"},
		":x":              {path: ":x"},
		"dir/web1:x":      {path: "dir/web1:x"},
		"[1].txt":         {path: "[1].txt"},
		"~/x":             {path: "~/x"},
		"web1:":           {envoy: "web1", path: "."},
		"web1:x":          {envoy: "web1", path: "x"},
		"web1:/x:y":       {envoy: "web1", path: "/x:y"},
		"web1:a b\xff":    {envoy: "web1", path: "a b\xff"},
		"web1:~":          {envoy: "web1", path: "."},
		"web1:~/":         {envoy: "web1", path: "./"},
		"web1:~/x/y":      {envoy: "web1", path: "x/y"},
		"web1:./~x":       {envoy: "web1", path: "./~x"},
		"ann@web1:x":      {envoy: "web1", login: "ann", path: "x"},
		"ann@corp@web1:x": {envoy: "web1", login: "ann@corp", path: "x"},
		"web1:a@b":        {envoy: "web1", path: "a@b"},
	} {
		if got, err := parseEnd(arg); err != nil || got != want {
			t.Errorf("%q is %+v, %v; expected %+v", arg, got, err, want)
		}
	}
	for _, arg := range []string{"scp://web1/x", "sftp://web1/x", "[::1]:x", "ann@[::1]:x", "web1:~bob/x", "@web1:x", "ann@:x"} {
		if got, err := parseEnd(arg); wire.CodeOf(err) != wire.Usage {
			t.Errorf("%q is %+v, %v; expected a usage error", arg, got, err)
		}
	}
	want := cpEnd{envoy: "C", path: `\x`}
	if runtime.GOOS == "windows" {
		want = cpEnd{path: `C:\x`}
	}
	if got, err := parseEnd(`C:\x`); err != nil || got != want {
		t.Errorf(`C:\x is %+v, %v`, got, err)
	}
}

func TestParseRate(t *testing.T) {
	for s, want := range map[string]int64{
		"": 0, "1": 1, "500K": 500 << 10, "10M": 10 << 20, "10m": 10 << 20, "2G": 2 << 30, "10MiB/s": 10 << 20, "10MB": 10 << 20, "7B/s": 7,
	} {
		if got, err := parseRate(s); err != nil || got != want {
			t.Errorf("%q is %d, %v; expected %d", s, got, err, want)
		}
	}
	for _, s := range []string{"0", "-1", "M", "10X", "1.5M", "99999999999G", "10 M"} {
		if got, err := parseRate(s); wire.CodeOf(err) != wire.Usage {
			t.Errorf("%q is %d, %v; expected a usage error", s, got, err)
		}
	}
}

// A word in quotes is one word for a shell, whatever is in it.
func TestQuoted(t *testing.T) {
	if got := quoted(`a'b "$(x)`); got != `'a'\''b "$(x)'` {
		t.Errorf("quoted: %s", got)
	}
}
