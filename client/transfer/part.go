package transfer

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
)

const (
	partSuffix = ".scrier-part"

	// maxName is how long a file's name may be on most systems, in bytes.
	maxName = 255
)

// PartName is the name that a file has until it is there as a whole. It is always the same one, so that a later copy finds
// what is there already.
func PartName(name string) string {
	part := "." + name + partSuffix
	if len(part) <= maxName {
		return part
	}
	sum := sha256.Sum256([]byte(name))
	mark := "-" + hex.EncodeToString(sum[:8])
	return "." + strings.ToValidUTF8(name[:maxName-1-len(mark)-len(partSuffix)], "_") + mark + partSuffix
}

// isPart says that a file is what an unfinished copy left.
func isPart(name string) bool {
	return strings.HasPrefix(name, ".") && strings.HasSuffix(name, partSuffix)
}
