// Package sftp is an SFTP server, version 3 (draft-ietf-secsh-filexfer-02), for the files that this process may
// reach: it changes no user and hides no folder, so it runs as a process of whoever is served.
//
// Where the draft leaves something open it does as OpenSSH's sftp-server does: requests are answered one
// after the other; SSH_FXP_RENAME replaces nothing; SSH_FXP_SYMLINK has its arguments in OpenSSH's order; names are bytes. A relative
// name is relative to the process's working directory. Of OpenSSH's extensions it has those that [Serve] lists.
//
// A guest who may not upload can change nothing. One who may not download can read no contents, but sees
// names, sizes and where links lead, as copying to a machine needs that.
package sftp
