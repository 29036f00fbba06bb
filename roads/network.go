package roads

import (
	"net"
	"slices"
	"strings"
)

// Network names the network that this machine is in: its ways out, or, where those are not known, its addresses. It is the same
// when the machine comes back to the network, as a rule, and says nothing to anybody else.
func Network() string {
	if ways := gateways(); len(ways) > 0 {
		return strings.Join(ways, ", ")
	}
	return strings.Join(addresses(), ", ")
}

// addresses are those of this machine's interfaces that are up.
func addresses() (all []string) {
	interfaces, err := net.Interfaces()
	if err != nil {
		return nil
	}
	for _, i := range interfaces {
		if i.Flags&net.FlagUp == 0 || i.Flags&net.FlagLoopback != 0 {
			continue
		}
		addrs, err := i.Addrs()
		if err != nil {
			continue
		}
		for _, a := range addrs {
			if n, ok := a.(*net.IPNet); ok && n.IP.IsGlobalUnicast() {
				all = append(all, i.Name+" "+n.String())
			}
		}
	}
	slices.Sort(all)
	const most = 8
	return all[:min(len(all), most)]
}
