package sharedtest

import (
	"sync"
	"testing"

	"go.uber.org/goleak"

	"scrier/relay/store"
	"scrier/relay/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestSuite(t *testing.T) {
	var mu sync.Mutex
	at := map[string]*Cluster{}
	cluster := func(dir string) *Cluster {
		mu.Lock()
		defer mu.Unlock()
		if at[dir] == nil {
			at[dir] = New(false)
		}
		return at[dir]
	}
	storetest.Run(t, func(t *testing.T, dir string) store.KV { return cluster(dir).Join() })
	storetest.RunShared(t, func(t *testing.T, dir string) store.Shared { return cluster(dir).Join() })
}
