// Package line knows one line of an authorized_keys file, and a whole file as bytes. It opens
// nothing and runs nothing: what it is given decides what it answers.
//
//   - [Query.Find] says what a file means for an operator's keys. It follows sshd's own
//     functions, which the comments name, and is narrower than sshd where versions of sshd or of
//     libc differ (the reasons that begin with Unclear).
//   - [Ephemeral] is the line of one session: written by [Ephemeral.Text], read back by
//     [ParseEphemeral], which takes nothing that differs in a byte.
//   - [Insert] puts a line into a file, [Cleaning] takes lines out. The two are inverse on any
//     bytes, and no other line changes.
package line
