package audit

import (
	"math/bits"

	"golang.org/x/mod/sumdb/tlog"
)

// tree is a Merkle tree (RFC 6962) that can only grow. It keeps the roots of its complete
// subtrees and none of their nodes, so it is small whatever its size.
type tree struct {
	size  uint64
	peaks [64]tlog.Hash // peaks[l] is the root of 2^l records, if bit l of size is set
}

// add appends a leaf, and appends to stored the hashes that are new in the tree, in the order of
// [tlog.StoredHashes].
func (t *tree) add(leaf tlog.Hash, stored []tlog.Hash) []tlog.Hash {
	stored = append(stored, leaf)
	level := 0
	for ; t.size>>level&1 == 1; level++ {
		leaf = tlog.NodeHash(t.peaks[level], leaf)
		stored = append(stored, leaf)
	}
	t.peaks[level] = leaf
	t.size++
	return stored
}

// root is the hash of the whole tree.
func (t *tree) root() tlog.Hash {
	if t.size == 0 {
		h, _ := tlog.TreeHash(0, nil) // a constant; nothing is read
		return h
	}
	level := bits.TrailingZeros64(t.size)
	h := t.peaks[level]
	for level++; t.size>>level != 0; level++ {
		if t.size>>level&1 == 1 {
			h = tlog.NodeHash(t.peaks[level], h)
		}
	}
	return h
}

// loadTree finds the tree of the first size records among the stored hashes.
func loadTree(size uint64, r tlog.HashReader) (tree, error) {
	t := tree{size: size}
	for level := range t.peaks {
		if size>>level&1 == 0 {
			continue
		}
		// The subtree of this level is the last complete one; its number is even.
		h, err := r.ReadHashes([]int64{tlog.StoredHashIndex(level, int64(size>>level)-1)})
		if err != nil {
			return tree{}, err
		}
		t.peaks[level] = h[0]
	}
	return t, nil
}
