package roads

import (
	"bufio"
	"encoding/binary"
	"encoding/hex"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
)

// gateways are the ways out by the kernel's default routes: of each family the one that it prefers.
func gateways() (ways []string) {
	for _, t := range []struct {
		path string
		read func(io.Reader) string
	}{{"/proc/net/route", route4}, {"/proc/net/ipv6_route", route6}} {
		f, err := os.Open(t.path)
		if err != nil {
			continue
		}
		if way := t.read(f); way != "" {
			ways = append(ways, way)
		}
		_ = f.Close() // it was read
	}
	return ways
}

// maxRoutes is how many lines of a table are looked at: a router may have a million.
const maxRoutes = 4096

// best is the line of a table whose way is preferred.
func best(table io.Reader, way func(fields []string) (way string, metric uint64)) (found string) {
	lowest := uint64(0)
	lines := bufio.NewScanner(table)
	for range maxRoutes {
		if !lines.Scan() {
			break
		}
		if w, metric := way(strings.Fields(lines.Text())); w != "" && (found == "" || metric < lowest) {
			found, lowest = w, metric
		}
	}
	return found
}

// route4 reads /proc/net/route: Iface Destination Gateway Flags RefCnt Use Metric Mask …, of which the addresses are numbers
// in the machine's byte order.
func route4(table io.Reader) string {
	return best(table, func(f []string) (string, uint64) {
		if len(f) < 8 || f[1] != "00000000" || f[7] != "00000000" {
			return "", 0
		}
		gateway, err := strconv.ParseUint(f[2], 16, 32)
		metric, merr := strconv.ParseUint(f[6], 10, 32)
		if err != nil || merr != nil {
			return "", 0
		}
		var b [4]byte
		binary.NativeEndian.PutUint32(b[:], uint32(gateway))
		return f[0] + " " + netip.AddrFrom4(b).String(), metric
	})
}

// route6 reads /proc/net/ipv6_route: destination, its prefix's length, source, its length, next hop, metric, reference count, use,
// flags, interface.
func route6(table io.Reader) string {
	const none = "00000000000000000000000000000000"
	return best(table, func(f []string) (string, uint64) {
		if len(f) < 10 || f[0] != none || f[1] != "00" || f[9] == "lo" {
			return "", 0
		}
		hop, err := hex.DecodeString(f[4])
		metric, merr := strconv.ParseUint(f[5], 16, 32)
		if err != nil || merr != nil || len(hop) != 16 {
			return "", 0
		}
		return f[9] + " " + netip.AddrFrom16([16]byte(hop)).String(), metric
	})
}
