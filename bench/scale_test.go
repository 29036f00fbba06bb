package main

import (
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"testing"

	"go.etcd.io/bbolt"
)

func TestParseScale(t *testing.T) {
	o, err := parse(nil, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range o.run {
		if name == "scale" {
			t.Error("scale is in the usual run")
		}
	}
	if o, err = parse([]string{"-run", "scale", "-agents", "200", "-shells", "20"}, io.Discard); err != nil || o.agents != 200 || len(o.run) != 1 {
		t.Errorf("got %+v, %v", o, err)
	}
	for _, bad := range [][]string{{"-agents", "0"}, {"-agents", "70000"}, {"-agents", "10", "-shells", "11"}, {"-storms", "-1"}, {"-idle", "0s"}} {
		if _, err := parse(append([]string{"-run", "scale"}, bad...), io.Discard); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

func TestParseCollections(t *testing.T) {
	const said = `fingerprint SHA256:x
gc 7 @1.5s 2%: 0.016+1.2+0.003 ms clock, 0.03+0.1/1.2/0.4+0.006 ms cpu, 40->41->12 MB, 42 MB goal, 3 MB stacks, 0 MB globals, 2 P
time=2026-11-27T10:00:00.000Z level=INFO msg="agent connected"
gc 8 @9.5s 2%: 0.016+1.2+0.003 ms clock, 0.03+0.1/1.2/0.4+0.006 ms cpu, 940->941->870 MB, 942 MB goal, 31 MB stacks, 0 MB globals, 2 P (forced)
`
	heap, stacks, err := parseCollections(said)
	if err != nil || heap != 870<<20 || stacks != 31<<20 {
		t.Errorf("got %d, %d, %v", heap, stacks, err)
	}
	if _, _, err := parseCollections("nothing"); err == nil {
		t.Error("a collection was found that is not there")
	}
}

func TestParseCount(t *testing.T) {
	const text = "TcpExt: A B\nTcpExt: 1 2\nIpExt: InNoRoutes InOctets\nIpExt: 3 4\n"
	if n, err := parseCount(text, "IpExt", "InOctets"); err != nil || n != 4 {
		t.Errorf("got %d, %v", n, err)
	}
	if _, err := parseCount(text, "IpExt", "A"); err == nil {
		t.Error("a counter of another protocol was found")
	}
}

func TestBoltUse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "x.db")
	db, err := bbolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	before, err := boltUse(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Update(func(tx *bbolt.Tx) error {
		b, err := tx.CreateBucketIfNotExists([]byte("b"))
		for i := range uint32(10_000) {
			if err == nil {
				err = b.Put(binary.BigEndian.AppendUint32(nil, i), make([]byte, 100))
			}
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	after, err := boltUse(path)
	if err != nil || after-before < 1_000_000 {
		t.Errorf("a megabyte more is %d bytes, %v", after-before, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() < after {
		t.Errorf("of %d bytes %d are used, %v", info.Size(), after, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := parseBolt(make([]byte, 8192), 4096); err == nil {
		t.Error("any file will do")
	}
}
