package roads

import (
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// native is an IPv4 address as the kernel prints it here.
func native(a, b, c, d byte) string {
	return fmt.Sprintf("%08X", binary.NativeEndian.Uint32([]byte{a, b, c, d}))
}

// Of several default routes the kernel's first one counts; others are none.
func TestRoutes(t *testing.T) {
	head := "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
	line := func(iface, dest, gw, metric, mask string) string {
		return iface + "\t" + dest + "\t" + gw + "\t0003\t0\t0\t" + metric + "\t" + mask + "\t0\t0\t0\n"
	}
	none, net24 := "00000000", native(255, 255, 255, 0)
	for table, want := range map[string]string{
		"":   "",
		head: "",
		head + line("eth0", native(192, 0, 2, 0), none, "0", net24):                                                              "",
		head + line("wlan0", none, native(198, 51, 100, 1), "600", none) + line("eth0", none, native(192, 0, 2, 1), "100", none): "eth0 192.0.2.1",
		head + line("tun0", none, none, "50", none):                                                                              "tun0 0.0.0.0",
		head + line("tun0", none, none, "50", native(128, 0, 0, 0)):                                                              "", // half of everything, as VPNs have
		head + "eth0\t00000000\n" + line("eth0", none, "nonsense", "0", none):                                                    "",
	} {
		if got := route4(strings.NewReader(table)); got != want {
			t.Errorf("%q: got %q, want %q", table, got, want)
		}
	}
	zero := strings.Repeat("0", 32)
	six := func(dest, length, hop, metric, iface string) string {
		return dest + " " + length + " " + zero + " 00 " + hop + " " + metric + " 00000001 00000000 00000003 " + iface + "\n"
	}
	hop := "fe800000000000000000000000000001"
	for table, want := range map[string]string{
		six(zero, "00", zero, "ffffffff", "lo"):                                              "",
		six(zero, "00", hop, "00000400", "eth0") + six(zero, "00", zero, "ffffffff", "lo"):   "eth0 fe80::1",
		six(hop, "80", zero, "00000100", "eth0"):                                             "",
		six(zero, "00", hop, "00000400", "wlan0") + six(zero, "00", hop, "00000064", "eth0"): "eth0 fe80::1",
	} {
		if got := route6(strings.NewReader(table)); got != want {
			t.Errorf("%q: got %q, want %q", table, got, want)
		}
	}
}

// On this machine it is what `ip route` says.
func TestThisNetwork(t *testing.T) {
	if _, err := os.Stat("/proc/net/route"); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("ip", "-4", "route", "show", "default").Output()
	if err != nil {
		t.Fatal(err)
	}
	fields := strings.Fields(string(out))
	network := Network()
	if len(fields) >= 5 && fields[1] == "via" && !strings.Contains(network, fields[4]+" "+fields[2]) {
		t.Errorf("%q is not the way of %q", network, out)
	}
	if network != Network() {
		t.Error("it is another one each time")
	}
}
