package transfer

import (
	"syscall"
	"time"
)

func lastRead(st *syscall.Stat_t) time.Time { return time.Unix(st.Atim.Unix()) }
