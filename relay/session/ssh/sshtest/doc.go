// Package sshtest is an SSH server for tests, which can also behave badly. It speaks the protocol by
// itself, packet by packet, so that it can send what no library would.
//
//   - [Honest] serves shells that echo, and remembers what it was asked for.
//   - [Behaviours] are the ways to behave badly, each with what becomes of a client.
package sshtest
