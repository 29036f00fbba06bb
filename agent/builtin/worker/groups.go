package worker

import (
	"bytes"
	"errors"
	"os"
	"slices"
	"strconv"
)

// Groups reads the process groups of all sessions of this machine from /proc, by the number of the session.
func Groups() map[int][]int {
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
		state, group, session, err := ParseStat(stat)
		if err == nil && state != 'Z' && state != 'X' && !slices.Contains(by[session], group) {
			by[session] = append(by[session], group)
		}
	}
	return by
}

// ParseStat reads a process's state, group and session from /proc/PID/stat. The second field is
// its name in parentheses. A process chooses that name, and it may hold parentheses too.
func ParseStat(stat []byte) (state byte, group, session int, err error) {
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
