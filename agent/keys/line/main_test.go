package line

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// findIn is Find in a file that is in memory, which cannot fail.
func (a Query) findIn(file []byte) []Finding {
	found, err := a.Find(bytes.NewReader(file))
	if err != nil {
		panic(err)
	}
	return found
}
