// Package guactest is guacd without a desktop: it speaks the protocol exactly, dials what it is
// told to, and records all that it hears; or it behaves badly in one of the ways that
// [Behaviour] lists. What versions of guacd do differently is among them.
//
// The tests that need a real guacd run the installed one, which is Debian's 1.3.0, or another one that was
// built from its source. They fit 1.3 and 1.6:
//
//	./configure --prefix=/opt/guacd --with-freerdp-plugin-dir=/opt/guacd/lib/freerdp2 && make install
//	mount --bind /opt/guacd/lib/freerdp2 /usr/lib/x86_64-linux-gnu/freerdp2
//	SCRIER_GUACD=/opt/guacd go test -run Real ./relay/guac
//	SCRIER_GUACD=/opt/guacd go test -run 'TestScript/.*(desktop|doctor)' ./stories
//
// FreeRDP looks for guacd's plugins, which RDP's drive needs, in a folder of its own: hence the mount. 1.6.1
// wants /etc/guacamole/guacd.conf to exist, an empty file will do.
package guactest
