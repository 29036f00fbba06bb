// Package account looks up logins of this machine, for all of the agent: one set of rules says
// what counts as an entry of passwd(5), where getent is looked for and what it may answer.
//
// [System] is this machine's [Database]. It asks getent, which knows the users of a directory
// (LDAP, SSSD) too. Where there is no getent it reads the files in /etc, which are then all that
// there is.
//
// What it refuses to do:
//
//   - to find getent by PATH. The agent may run as root and was started with somebody's PATH;
//     only folders that belong to the system count.
//   - to believe an answer that is not about what was asked: some directories do not tell A from
//     a, and getent takes numbers for names.
//   - to read a number that is not written in its one canonical form, so that no other spelling
//     of 0 passes for a user, or the highest one, which means "no change" to setuid(2).
//   - to show a name, a home or a shell that holds a control character, or a home that is not an
//     absolute path. Such an entry counts as none.
//   - to give anybody root's group as a supplementary one.
//   - to wait or to read without end: five seconds a question, 64 KiB an entry, 16 MiB a list.
//
// Whether somebody may log in is for its callers to say.
package account
