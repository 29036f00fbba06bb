package account

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	maxGroups = 1024 // of one account; far below the kernel's 65536
	batch     = 200  // accounts in one question to getent
)

// AddGroups fills in the supplementary groups of accounts, as a login of theirs would get them,
// but never root's. Those of accounts that it could not look up are left alone, and it returns
// an error.
func (d Database) AddGroups(ctx context.Context, accounts []Account) error {
	var errs []error
	for some := range slices.Chunk(accounts, batch) {
		if err := d.addGroups(ctx, some); err != nil {
			errs = append(errs, fmt.Errorf("look up groups: %w", err))
			if ctx.Err() != nil {
				break
			}
		}
	}
	return errors.Join(errs...)
}

func (d Database) addGroups(ctx context.Context, accounts []Account) error {
	if d.Getent == "" {
		return d.groupsOfFile(accounts)
	}
	logins := make([]string, len(accounts))
	for i, a := range accounts {
		logins[i] = a.Login
	}
	text, err := d.read(ctx, maxList, "initgroups", logins...)
	var status statusError
	if errors.As(err, &status) {
		return d.groupsOfFile(accounts) // musl's getent does not know initgroups, and musl knows files only
	}
	if err != nil {
		return err
	}
	known := map[string][]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) > 0 && known[f[0]] == nil {
			known[f[0]] = f
		}
	}
	for i := range accounts {
		f := known[accounts[i].Login]
		if f == nil {
			err = fmt.Errorf("getent does not tell those of %s", accounts[i].Login)
			continue
		}
		accounts[i].Groups = parseGroups(f[1:])
	}
	return err
}

// groupsOfFile reads the groups of accounts from group(5).
func (d Database) groupsOfFile(accounts []Account) error {
	text, err := readFile(filepath.Join(d.Etc, "group"), maxList)
	if err != nil {
		return err
	}
	of := map[string][]string{} // gids by member
	for line := range strings.Lines(string(text)) {
		f := strings.Split(strings.TrimSuffix(line, "\n"), ":")
		if len(f) != 4 {
			continue
		}
		for member := range strings.SplitSeq(f[3], ",") {
			of[member] = append(of[member], f[2])
		}
	}
	for i := range accounts {
		accounts[i].Groups = parseGroups(of[accounts[i].Login])
	}
	return nil
}

func parseGroups(fields []string) []uint32 {
	var groups []uint32
	for _, s := range fields[:min(len(fields), maxGroups)] {
		if gid, ok := parseID(s); ok && gid != 0 { // root's group is no part of a user's own work
			groups = append(groups, gid)
		}
	}
	return groups
}

// GroupNames are the names of groups, of those that have one.
func (d Database) GroupNames(ctx context.Context, gids []uint32) ([]string, error) {
	keys := make([]string, len(gids))
	for i, gid := range gids {
		keys[i] = strconv.FormatUint(uint64(gid), 10)
	}
	var names []string
	for some := range slices.Chunk(keys, batch) {
		text, err := d.read(ctx, maxList, "group", some...)
		if err != nil {
			return nil, fmt.Errorf("look up names of groups: %w", err)
		}
		for line := range strings.Lines(string(text)) {
			if f := strings.Split(strings.TrimSuffix(line, "\n"), ":"); len(f) == 4 && slices.Contains(some, f[2]) {
				names = append(names, f[0])
			}
		}
	}
	return names, nil
}

// Private says whether a group has the account as a member, and nobody else: neither by the entries of accounts, which
// are all, nor by the group's own.
func (d Database) Private(ctx context.Context, gid uint32, a Account, all []Account) (bool, error) {
	line, err := d.entry(ctx, "group", 2, strconv.FormatUint(uint64(gid), 10))
	if err != nil {
		return false, fmt.Errorf("look up group %d: %w", gid, err)
	}
	f := strings.Split(line, ":")
	if len(f) != 4 || f[2] != strconv.FormatUint(uint64(gid), 10) || f[3] != "" && f[3] != a.Login {
		return false, nil
	}
	for _, other := range all {
		if other.GID == gid && other.UID != a.UID {
			return false, nil
		}
	}
	return f[3] != "" || a.GID == gid, nil // a directory may have more users than it lists
}
