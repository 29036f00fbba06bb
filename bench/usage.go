package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// tick is the unit of the kernel's processor times, USER_HZ, the same on all of Linux's
// architectures that Go has.
const tick = 10 * time.Millisecond

// usage is what processes have used.
type usage struct {
	processor time.Duration // since their start
	reaped    time.Duration // processor time of its children that have ended
	memory    int64         // bytes that are resident now
	children  int           // of the first process
}

// usageOf is a daemon's and its children's. Children that have ended are not counted.
func (w *world) usageOf(name string) (usage, error) {
	d := w.running[name]
	if d == nil {
		return usage{}, fmt.Errorf("there is no %s", name)
	}
	pid := strconv.Itoa(d.cmd.Process.Pid)
	u, err := processUsage(pid)
	if err != nil {
		return u, fmt.Errorf("look at %s: %w", name, err)
	}
	// One for each of its threads, any of which may have started some.
	lists, err := filepath.Glob("/proc/" + pid + "/task/*/children")
	if err != nil {
		return u, err
	}
	for _, list := range lists {
		data, err := os.ReadFile(list)
		if err != nil {
			continue // the thread has ended
		}
		for _, child := range strings.Fields(string(data)) {
			c, err := processUsage(child)
			if err != nil {
				continue // it has ended
			}
			u.processor += c.processor
			u.memory += c.memory
			u.children++
		}
	}
	return u, nil
}

// processUsage reads proc_pid_stat(5).
func processUsage(pid string) (usage, error) {
	data, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return usage{}, err
	}
	return parseUsage(string(data))
}

func parseUsage(stat string) (usage, error) {
	// The name, in parentheses, may hold anything.
	fields := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:])
	const state, user, system, childUser, childSystem, resident = 3, 14, 15, 16, 17, 24 // numbers of the fields in the manual
	number := func(field int) (n int64, err error) {
		if field-state >= len(fields) {
			return 0, fmt.Errorf("a stat of %d fields", len(fields))
		}
		return strconv.ParseInt(fields[field-state], 10, 64)
	}
	var n [5]int64
	for i, field := range []int{user, system, childUser, childSystem, resident} {
		var err error
		if n[i], err = number(field); err != nil {
			return usage{}, err
		}
	}
	return usage{processor: time.Duration(n[0]+n[1]) * tick, reaped: time.Duration(n[2]+n[3]) * tick, memory: n[4] * int64(os.Getpagesize())}, nil
}
