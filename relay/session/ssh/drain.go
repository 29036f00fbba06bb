package ssh

import (
	"reflect"
	"unsafe"

	"golang.org/x/crypto/ssh"
)

// drain throws away the packets of a connection that package ssh has given up. When a server breaks the protocol and
// has sent many packets behind that, package ssh waits for whoever takes these, and that was itself: Wait never
// returns then, and each such connection would leave three goroutines and 4 MiB behind (x/crypto 0.58: mux.loop calls
// handshakeTransport.Close, which waits for readLoop, which waits for room in incoming). There is no way to them but
// this one. TestEvilServers shows that it works.
func drain(conn ssh.Conn) {
	v := reflect.ValueOf(conn)
	for _, field := range []string{"transport", "incoming"} {
		for v.Kind() == reflect.Pointer || v.Kind() == reflect.Interface {
			v = v.Elem()
		}
		if v.Kind() != reflect.Struct {
			return
		}
		v = v.FieldByName(field)
	}
	if !v.IsValid() || v.Type() != reflect.TypeFor[chan []byte]() {
		return
	}
	for range *(*chan []byte)(unsafe.Pointer(v.UnsafeAddr())) { // it is closed when nothing more can be read
	}
}
