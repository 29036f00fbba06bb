//go:build darwin || freebsd

package transfer

import (
	"syscall"
	"time"
)

func lastRead(st *syscall.Stat_t) time.Time { return time.Unix(st.Atimespec.Unix()) }
