// Package builtin is an SSH server inside the agent, for machines that have no sshd.
//
// It has no listening port: [Server.Serve] speaks SSH over one stream that it is handed, to
// whoever holds the private half of one key, for one login. Choose it where sshd cannot be
// installed. Where there is an sshd, use that: it can do what this server refuses to do:
//
//   - It serves one account, fixed when the agent starts, and never one of uid 0. An agent that
//     is not root can only serve its own.
//   - It serves shells, commands, SFTP, forwards of TCP ports and unix sockets in both directions, and
//     the guest's agent, each only as far as [Guest] says. Forwards go to loopback, unless [Guest.Forward] says otherwise, and
//     listen there alone. Other subsystems, X11 and tun are refused; there is no code for them.
//   - It knows no passwords, no certificates and no PAM, and writes no utmp, wtmp or lastlog.
//     Limits and groups that only PAM sets are not set.
//
// What a guest names is touched by processes of the account alone: shells and commands, and package worker, which has files
// and sockets. So it makes no difference to the machine whether the agent is root.
//
// Each session channel is one process session and group (setsid). When its first process ends,
// its output is delivered and the channel closed. Processes that it left in the background go on,
// as under sshd. When the connection or the channel ends first, the group and the terminal's
// foreground group get SIGHUP, and after five seconds SIGKILL. Forwards end with the connection.
// If the agent is killed, a worker does what is left of this.
package builtin
