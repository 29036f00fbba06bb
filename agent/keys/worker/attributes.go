package worker

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

const maxAttributes = 64 << 10 // the kernel's limits, XATTR_LIST_MAX and XATTR_SIZE_MAX

// copyAttributes copies all extended attributes: POSIX ACLs, security labels and the user's own. One
// that may not be set is an error, unless to has the same value already.
func copyAttributes(to, from int) error {
	want, err := attributes(from)
	if err != nil {
		return err
	}
	have, err := attributes(to)
	if err != nil {
		return err
	}
	for name, value := range want {
		if bytes.Equal(have[name], value) && have[name] != nil {
			continue
		}
		if err := unix.Fsetxattr(to, name, value, 0); err != nil {
			return fmt.Errorf("set %s: %w", name, err)
		}
	}
	for name := range have { // a new file inherits some from its folder
		if _, ok := want[name]; !ok {
			if err := unix.Fremovexattr(to, name); err != nil && !errors.Is(err, unix.ENODATA) {
				return fmt.Errorf("remove %s: %w", name, err)
			}
		}
	}
	return nil
}

func attributes(fd int) (map[string][]byte, error) {
	list := make([]byte, maxAttributes)
	n, err := unix.Flistxattr(fd, list)
	if errors.Is(err, unix.ENOTSUP) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("list: %w", err)
	}
	all := map[string][]byte{}
	buffer := make([]byte, maxAttributes)
	for _, name := range strings.Split(strings.TrimSuffix(string(list[:n]), "\x00"), "\x00") {
		if name == "" {
			continue
		}
		n, err := unix.Fgetxattr(fd, name, buffer)
		if errors.Is(err, unix.ENODATA) || errors.Is(err, unix.ENOTSUP) {
			continue
		}
		if err != nil {
			return nil, fmt.Errorf("get %s: %w", name, err)
		}
		all[name] = append([]byte{}, buffer[:n]...)
	}
	return all, nil
}
