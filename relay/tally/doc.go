// Package tally counts what happens in the rooms of a relay, so that it can be read now and then. Nothing in it takes a
// lock or memory: it may be called where much happens. Who reads the counts is none of a room's business.
package tally
