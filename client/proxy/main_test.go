package proxy

import (
	"context"
	"fmt"
	"io"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
)

// patience is the deadline of every wait in these tests.
const patience = 30 * time.Second

// proxyEnv makes a ProxyCommand of the test's program: the folder of a [machine].
const proxyEnv = "SCRIER_TEST_PROXY"

func TestMain(m *testing.M) {
	if dir := os.Getenv(proxyEnv); dir != "" {
		os.Exit(proxyCommand(dir))
	}
	goleak.VerifyTestMain(m)
}

// proxyCommand is what `scrier proxy` does, with a session that is a connection of SSH's.
func proxyCommand(dir string) int {
	conn, err := Stdio()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	c := Config{Conn: conn, HostKey: readKey(dir + "/proxy_key"), Open: openers(dir), Report: report, Messages: os.Stderr, Unseen: os.Getenv("UNSEEN") != ""}
	if Serve(context.Background(), c) != nil {
		return 255
	}
	return 0
}

func report(w io.Writer, err error) { fmt.Fprintf(w, "scrier: %s\n", words(err)) }

func readKey(file string) ssh.Signer {
	data, err := os.ReadFile(file)
	if err == nil {
		var key ssh.Signer
		if key, err = ssh.ParsePrivateKey(data); err == nil {
			return key
		}
	}
	panic(err)
}
