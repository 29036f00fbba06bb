package bolt

import (
	"encoding/binary"
	"errors"
	"hash/crc32"

	"scrier/relay/store"
)

// Pages of bbolt carry no checksum, and a value that rotted on the disk may still decode, a
// different SSH key for instance. So each value is stored with the CRC-32C of its key and itself,
// 4 bytes, big endian. That finds accidents; it is no defence against somebody who writes to the
// file.
const sealSize = 4

var errSeal = errors.New("a value is not what was written")

func seal(key string, value []byte) []byte {
	sealed := append(make([]byte, 0, len(value)+sealSize), value...)
	return binary.BigEndian.AppendUint32(sealed, sum(key, value))
}

// unseal returns a copy: bbolt's slices are mapped memory that is gone after the transaction.
func unseal(key string, sealed []byte) ([]byte, error) {
	n := len(sealed) - sealSize
	if n < 0 || n > store.MaxValue { // a length that is wrong may reach beyond the file
		return nil, errSeal
	}
	value := append(make([]byte, 0, n), sealed[:n]...)
	if binary.BigEndian.Uint32(sealed[n:]) != sum(key, value) {
		return nil, errSeal
	}
	return value, nil
}

func sum(key string, value []byte) uint32 {
	table := crc32.MakeTable(crc32.Castagnoli) // made once by the package
	return crc32.Update(crc32.Checksum([]byte(key), table), table, value)
}
