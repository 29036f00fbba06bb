// Package keys lets an operator's session in: it finds the login of this machine whose
// authorized_keys holds one of the operator's public keys, adds one ephemeral key to that
// login, takes it away again, and sweeps what a crash left behind.
//
// This package is the half that may run as root: it asks who there is and what sshd does, keeps
// the journal, and starts workers. What touches a home is package worker, which runs as the user;
// what a line means is package line, which touches nothing.
//
// The walk of one session is [Keys.Find], [Keys.Install], [Installed.Remove]:
//
//	Find     the logins -> sshd -T (which files?) -> a worker per login reads them -> AuthorizedKeysCommand
//	Install  journal entry, fsynced -> lock -> a worker appends one line
//	Remove   lock -> a worker takes the line out -> journal entry gone
//
// What can be chosen is where the ephemeral key goes. [Home] appends it to the file that holds
// the operator's own key. [Dropin] writes it to a folder of this agent's own, /run/scrier/keys,
// for machines whose sshd reads AuthorizedKeysFile /run/scrier/keys/%u, and changes no home.
//
// What it refuses to do:
//
//   - to touch a home as root. All work there is done by a worker process that became
//     that user, with no way back, before it opened anything, and that is killed and abandoned
//     when the file system does not answer. Its answer is not trusted: a user may lie about
//     their own files, never about another's.
//   - to follow a symbolic link to what is not the user's own, to write a file with two names, to create .ssh or
//     a file.
//   - to choose between two logins, to serve uid 0, or to prefer a line that sshd would not
//     have come to. The rules by which a line matches are sshd's own, and narrower where in doubt.
//   - to grant more than the line that it found: the ephemeral key has a terminal and nothing
//     else, from loopback only, for at most two minutes.
//   - to change any other line. Adding is one append; removing swaps a new file in and looks at
//     what it swapped out, so that another program's edit is never lost.
//
// The package needs Linux.
package keys
