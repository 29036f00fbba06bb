// Package worker is what runs as the user: the short-lived process that reads and edits
// authorized_keys in one home. Package keys, which may be root, starts it; protocol.go is all
// that the two say to each other.
//
// The process has become the user before it opens anything, with no way back, so whatever the
// user has laid out there (links, FIFOs, files of others) can do no more than the user could.
//
// Each file is reached by its folder, which is held open from the first look on (place.go). What
// happens to it is one [Task]:
//
//	Look     read it, match the operator's keys
//	Install  append one line by one write
//	Clean    take lines out: exchange a new file for it, or else write a # over the line
//
// It refuses to run as root, to write a file with two names or of another owner, to follow a symbolic link to such a
// file, and to create a file beside the one that it replaces for a moment. Links are resolved before anything is opened;
// what is opened then has none on its way.
package worker
