package client

import (
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// patience is the deadline of every wait in these tests.
const patience = 30 * time.Second

func TestMain(m *testing.M) {
	if play := os.Getenv(playEnv); play != "" {
		os.Exit(playTerminal(play))
	}
	goleak.VerifyTestMain(m)
}
