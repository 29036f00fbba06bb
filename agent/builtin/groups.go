package builtin

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"
)

// groups knows the process groups of sessions. /proc is read once for all that ask at the same time: when many shells
// end together, each would read all of it otherwise, again and again. Its methods may be called concurrently.
type groups struct {
	read func() map[int][]int // nil: [readGroups]

	mu    sync.Mutex // held while /proc is read
	begun time.Time
	by    map[int][]int
}

// of lists the groups of a session's living processes, as they were at some moment that is not before since.
func (g *groups) of(session int, since time.Time) []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.begun.After(since) {
		g.begun = time.Now()
		if g.read == nil {
			g.by = readGroups()
		} else {
			g.by = g.read()
		}
	}
	return g.by[session]
}

// readGroups reads the groups of all sessions of this machine from /proc.
func readGroups() map[int][]int {
	by := map[int][]int{}
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return by
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue // gone meanwhile
		}
		state, group, session, err := parseStat(stat)
		if err == nil && state != 'Z' && state != 'X' && !slices.Contains(by[session], group) {
			by[session] = append(by[session], group)
		}
	}
	return by
}

// parseStat reads a process's state, group and session from /proc/PID/stat. The second field is
// its name in parentheses. A process chooses that name, and it may hold parentheses too.
func parseStat(stat []byte) (state byte, group, session int, err error) {
	i := bytes.LastIndexByte(stat, ')')
	f := bytes.Fields(stat[i+1:])
	if i < 0 || len(f) < 4 || len(f[0]) != 1 {
		return 0, 0, 0, errors.New("malformed stat")
	}
	if group, err = strconv.Atoi(string(f[2])); err != nil {
		return 0, 0, 0, err
	}
	if session, err = strconv.Atoi(string(f[3])); err != nil {
		return 0, 0, 0, err
	}
	return f[0][0], group, session, nil
}
