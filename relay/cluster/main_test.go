package cluster

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"scrier/relay/store"
	"scrier/relay/store/etcd"
)

// What a child process is told, see TestKilled.
const childDir, childListen = "SCRIER_TEST_MEMBER_DIR", "SCRIER_TEST_MEMBER_LISTEN"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := child(dir, os.Getenv(childListen)); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
		os.Exit(1)
	}
	// etcd waits for ever for a database that it could not open, once that does not end the process.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("go.etcd.io/etcd/server/v3/storage.OpenBackend"))
}

// child is a member that writes until it is killed, and says what was acknowledged.
func child(dir, listen string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m, err := Start(ctx, Config{Dir: dir, Listen: listen, Now: time.Now, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return err
	}
	if err := m.Ready(ctx); err != nil {
		return err
	}
	kv, err := etcd.Open(ctx, etcd.Config{Client: m.Client(), MaxOps: MaxOps, Name: m.Name()})
	if err != nil {
		return err
	}
	for i := 0; m.Err() == nil && ctx.Err() == nil; i++ {
		key := fmt.Sprintf("child/%d/%06d", os.Getpid(), i)
		if err := kv.Update(ctx, func(tx store.Tx) error { return tx.Put(key, []byte("x")) }); err == nil {
			fmt.Println(key)
		}
	}
	fmt.Println("failed:", m.Err())
	fmt.Println("closed:", m.Close())
	return nil
}
