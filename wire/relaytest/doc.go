// Package relaytest is a relay that behaves badly, for the tests of those who connect to one.
//
//   - [Agents] is what it does to an agent: on the control stream, and on the sessions' streams.
//   - [Viewers] is what it does to a terminal that asks for a session.
package relaytest
