// Package guactest is guacd without a desktop: it speaks the protocol exactly, dials what it is
// told to, and records all that it hears; or it behaves badly in one of the ways that
// [Behaviour] lists.
package guactest
