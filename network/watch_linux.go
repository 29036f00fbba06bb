package network

import (
	"context"
	"errors"
	"iter"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// groups are what the kernel is to tell of: addresses and routes (rtnetlink(7)).
const groups = unix.RTMGRP_IPV4_IFADDR | unix.RTMGRP_IPV6_IFADDR | unix.RTMGRP_IPV4_ROUTE | unix.RTMGRP_IPV6_ROUTE

// changes are told by the kernel; where it tells nobody, it is looked for them.
func changes(ctx context.Context) iter.Seq[struct{}] {
	f, err := listen()
	if err != nil {
		return looked(ctx)
	}
	return func(yield func(struct{}) bool) {
		defer f.Close()
		defer context.AfterFunc(ctx, func() { _ = f.Close() })()
		buf := make([]byte, 64<<10)
		for {
			if _, err := f.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) { // there were more than fit
				return
			}
			time.Sleep(settle)
			if f.SetReadDeadline(time.Now().Add(time.Millisecond)) != nil {
				return
			}
			for {
				if _, err := f.Read(buf); err != nil && !errors.Is(err, unix.ENOBUFS) {
					break
				}
			}
			if f.SetReadDeadline(time.Time{}) != nil || ctx.Err() != nil || !yield(struct{}{}) {
				return
			}
		}
	}
}

func listen() (*os.File, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, err
	}
	if err := unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}); err != nil {
		_ = unix.Close(fd)
		return nil, err
	}
	return os.NewFile(uintptr(fd), "netlink"), nil
}
