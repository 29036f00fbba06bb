package relay

import (
	"bytes"
	"io"
	"net/netip"
	"strings"
	"testing"
)

// A header says who is behind the proxy; not a byte behind it is read.
func TestProxyHeader(t *testing.T) {
	v2 := func(command, family byte, length int, rest string) string {
		return proxySignature + string([]byte{command, family, byte(length >> 8), byte(length)}) + rest
	}
	four := "\xc0\x00\x02\x07\x0a\x01\x00\x01\x30\x39\x20\xfb" // 192.0.2.7:12345 to 10.1.0.1:8443
	six := "\x20\x01\x0d\xb8" + strings.Repeat("\x00", 11) + "\x07" + strings.Repeat("\x00", 15) + "\x01\x30\x39\x20\xfb"
	mapped := strings.Repeat("\x00", 10) + "\xff\xff\xc0\x00\x02\x07" + strings.Repeat("\x00", 15) + "\x01\x30\x39\x20\xfb"
	for head, want := range map[string]string{
		"PROXY TCP4 192.0.2.7 10.1.0.1 12345 8443\r\n":      "192.0.2.7:12345",
		"PROXY TCP6 2001:db8::7 2001:db8::1 12345 8443\r\n": "[2001:db8::7]:12345",
		"PROXY TCP6 ::ffff:192.0.2.7 ::1 12345 8443\r\n":    "192.0.2.7:12345",
		"PROXY UNKNOWN\r\n": "",
		"PROXY UNKNOWN " + strings.Repeat("f", maxProxyV1-16) + "\r\n": "",
		v2(0x21, 0x11, 12, four):                                            "192.0.2.7:12345",
		v2(0x21, 0x21, 36, six):                                             "[2001:db8::7]:12345",
		v2(0x21, 0x21, 36, mapped):                                          "192.0.2.7:12345",
		v2(0x21, 0x11, 12+7, four+"\x04\x00\x04abcd"):                       "192.0.2.7:12345",
		v2(0x21, 0x11, maxProxyV2, four+strings.Repeat("x", maxProxyV2-12)): "192.0.2.7:12345",
		ProxyLocal:                                                              "",
		v2(0x20, 0x11, 12, four):                                                "", // a health check, whatever it says
		v2(0x20, 0xff, 3, "abc"):                                                "",
		v2(0x21, 0x00, 3, "abc"):                                                "",
		v2(0x21, 0x31, 216, strings.Repeat("/", 216)):                           "",
		"PROXY TCP4 192.0.2.7 10.1.0.1 12345 65536\r\n":                         "no port",
		"PROXY TCP4 192.0.2.7 10.1.0.1 12345 -1\r\n":                            "no port",
		"PROXY TCP4 192.0.2.7 10.1.0.1 12345 \r\n":                              "no port",
		"PROXY TCP4 2001:db8::7 2001:db8::1 12345 8443\r\n":                     "no address of TCP4",
		"PROXY TCP6 192.0.2.7 10.1.0.1 12345 8443\r\n":                          "no address of TCP6",
		"PROXY TCP6 fe80::7%eth0 fe80::1 12345 8443\r\n":                        "no address of TCP6",
		"PROXY TCP4 relay.example.com 10.1.0.1 12345 8443\r\n":                  "no address of TCP4",
		"PROXY TCP4 192.0.2.7 10.1.0.1 12345\r\n":                               "its line is",
		"PROXY TCP4 192.0.2.7  10.1.0.1 12345 8443\r\n":                         "its line is",
		"PROXY UDP4 192.0.2.7 10.1.0.1 12345 8443\r\n":                          "its line is",
		"PROXY TCP4 192.0.2.7 10.1.0.1 12345 8443" + strings.Repeat(" ", 107):   "longer than 107",
		"proxy TCP4 192.0.2.7 10.1.0.1 12345 8443\r\n":                          errNoHeader.Error(),
		"GET / HTTP/1.1\r\nHost: relay\r\n":                                     errNoHeader.Error(),
		"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x00\x00":                  errNoHeader.Error(),
		v2(0x21, 0x12, 12, four):                                                "not TCP",
		v2(0x21, 0x41, 12, four):                                                "not TCP",
		v2(0x22, 0x11, 12, four):                                                "command are 0x22",
		v2(0x11, 0x11, 12, four):                                                "command are 0x11",
		v2(0x21, 0x11, 11, four[:11]):                                           "too short",
		v2(0x21, 0x21, 12, four):                                                "too short",
		v2(0x21, 0x11, maxProxyV2+1, four+strings.Repeat("x", maxProxyV2-12+1)): "longer than 4096",
		v2(0x21, 0x11, 13, four):                                                "EOF",
		v2(0x21, 0x11, 12, four[:5]):                                            "EOF",
		"PROXY TCP4 192.0.2.7":                                                  "EOF",
		"PROXY ":                                                                "EOF",
	} {
		const behind = "\x16\x03\x01"
		bad := !strings.Contains(want, ":1234") && want != ""
		in := strings.NewReader(head)
		if !bad {
			in = strings.NewReader(head + behind)
		}
		from, err := readProxyHeader(in)
		switch {
		case bad:
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%q: %v, %v, want %q", head, from, err, want)
			}
			continue
		case err != nil:
			t.Errorf("%q: %v", head, err)
		case from.IsValid() != (want != "") || from.IsValid() && from != netip.MustParseAddrPort(want):
			t.Errorf("%q: %v, want %q", head, from, want)
		}
		if rest, _ := io.ReadAll(in); string(rest) != behind {
			t.Errorf("%q: %q is left", head, rest)
		}
	}
}

// Whatever somebody sends, it is an address, none or an error, after no more bytes than a header may have.
func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte(ProxyLocal))
	f.Add([]byte("PROXY TCP4 192.0.2.7 10.1.0.1 12345 8443\r\nhello"))
	f.Add([]byte("PROXY TCP6 2001:db8::7 2001:db8::1 12345 8443\r\n"))
	f.Add([]byte("PROXY UNKNOWN\r\n"))
	f.Add([]byte(proxySignature + "\x21\x11\x00\x0c\xc0\x00\x02\x07\x0a\x01\x00\x01\x30\x39\x20\xfb"))
	f.Add([]byte(proxySignature + "\x21\x21\x00\x24" + strings.Repeat("\x01", 36)))
	f.Fuzz(func(t *testing.T, data []byte) {
		in := bytes.NewReader(data)
		from, err := readProxyHeader(in)
		if read := len(data) - in.Len(); read > len(proxySignature)+4+maxProxyV2 {
			t.Errorf("%d bytes were read", read)
		}
		if err == nil && from.IsValid() && (from.Addr().Is4In6() || from.Addr().Zone() != "") {
			t.Errorf("%v is an address of two forms", from)
		}
	})
}
