package worker

import (
	"os"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case hammerArg:
			os.Exit(testHammer())
		case appendArg:
			os.Exit(testAppender())
		}
	}
	unix.Umask(0o022)
	goleak.VerifyTestMain(m)
}
