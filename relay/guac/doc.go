// Package guac speaks the Guacamole protocol with guacd, which draws remote desktops, and judges
// what passes between guacd and a viewer.
//
// An instruction is a list of elements: `4.size,1.0,4.1024,3.768;`. Each element is preceded by
// its length in Unicode code points (not bytes, not UTF-16 units); the first one is the opcode.
// [Reader] takes them apart as they come and [Append] makes them. [Handshake] opens a connection
// through guacd, or joins one that is open: select, args, then size, audio, video, image,
// timezone, name and connect, then ready. From there on instructions flow both ways.
//
// Neither side is trusted. guacd interprets what a hostile desktop server sends, so [FromGuacd]
// lets through what draws and what the [Policy] allows, within bounds of number and size. A
// viewer is a browser that may be anyone's, so [FromViewer] lets through input, and streams of
// the kinds that the policy allows. Everything that is not known is refused.
//
// The package refuses to do three things: it passes no parameter to guacd that its caller did not
// set by guacd's own name, it waits for nothing without a deadline, and it takes no memory for
// a length that a peer merely claims.
//
// The protocol: https://guacamole.apache.org/doc/gug/protocol-reference.html.
package guac
