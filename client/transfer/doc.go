// Package transfer copies files and folders between two [Place]s: this machine ([Local]) and machines behind an SFTP
// connection ([Remote]), in either direction, or between two of the latter. [Run] does it.
//
// What it promises:
//
//   - A target has its name only when all of it is there. Until then it is a part file beside it, see [PartName].
//   - What fails is told file by file, and the rest goes on. Only a lost connection, or the end of the context, ends all.
//   - The bytes of a file are asked for, and sent, in their order, with many requests under way; so are several
//     small files at a time. The memory this takes is bounded, whatever the far side answers.
//   - What the far side names never leads out of the target: neither by its name nor through a symbolic link.
//
// It keeps no owners, no symbolic links, no hard links, no holes, no set-user-id bits and no extended attributes, as scp
// does not. It does not connect, and shows nothing: see [Progress].
package transfer
