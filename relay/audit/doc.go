// Package audit is a relay's log of who did what, made so that nobody can quietly change it, the
// relay's own administrator included.
//
// Each [Record] carries the hash of the one before it, and all of them are the leaves of a Merkle
// tree (RFC 6962, golang.org/x/mod/sumdb/tlog) whose root is signed with Ed25519 in checkpoints
// (C2SP's tlog-checkpoint, golang.org/x/mod/sumdb/note). There is no way to change or delete a
// record. [Log.Append] returns when the record is durable; if it cannot be written, nothing may
// start ([wire.AuditUnavailable]), and what is under way ends with [Log.AppendEnd], for which some
// space is kept ready. What anybody who is logged in can repeat uses a bounded share of that
// ([Log.AppendOwn]).
//
// # What is found out, and what is not
//
//   - A record, hash or checkpoint that was changed, cut away or put in: [Open] and [Verify] find
//     it, unless the one who did it has the signing key and signed everything anew.
//   - A file that was replaced by an older one: Open finds it by the anchor beside the file.
//   - Everything signed anew, or file and anchor replaced together: found by whoever kept a
//     checkpoint elsewhere and gives it to Verify ([VerifyOptions.Pinned]). Nothing inside a relay
//     can find that.
//   - An event that was never appended, or that lies: not found.
//
// The log holds names, addresses and error texts, bounded but not escaped. It holds no key
// strokes, session content, tickets or keys: an [Event] has no place for them.
//
// # The file
//
// bbolt, in buckets records, hashes (the tree's nodes, in the order of tlog.StoredHashes) and
// checkpoints; see file.go. A record is deterministic CBOR; there is one encoding of a record and
// one record of an encoding, see record.go. A checkpoint is written with every 256th record, one
// second after a record at the latest, and by [Log.Close]; of those that fall into the same 256
// records the last is kept. A crash tears nothing: bbolt commits a batch of records, their hashes
// and their checkpoint, or none of it.
//
// # The export
//
// [Log.Export] writes lines, and [Verify] needs nothing besides:
//
//	scrier-audit-export/1
//	key <verifier key>
//	record <base64 of the record's encoding>          as often as there are records, seq 0 first
//	checkpoint <base64 of a signed checkpoint>        after the last record that it covers
//	end <base64 of a signed checkpoint of all records, with two extension lines:
//	     digest <base64 of the SHA-256 of all lines before this one>
//	     time <when it was exported, RFC 3339>
//
// The encodings that were hashed travel as they are; nothing is encoded again. A checkpoint
// stands behind what it covers, and only the end, of which a checkpoint cannot take the place,
// completes an export. Therefore:
//
//   - An export that was cut, at any byte, has lost its end, and with it only records that no
//     checkpoint in what is left covers: [IncompleteTail].
//   - Any other change contradicts the chain, a checkpoint, the end's root or the end's digest:
//     [Tampered]. So does a cut that leaves a checkpoint of what was cut, and any byte after the
//     end.
//   - Within a cut export, the records after the last checkpoint are held together by their chain
//     alone. Whoever changes those changes nothing that anyone signed; the verdict is
//     IncompleteTail, and [Report.Covered] says how far it can be trusted.
//   - An older export of the same log is [OK] by itself. [Report.Exported], and a pinned
//     checkpoint, tell it from a newer one.
package audit
