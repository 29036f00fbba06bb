//go:build !linux && !agentonly

package main

import "context"

// An osUser is a user of the relay's host. A relay runs on Linux, so this is another host, where there is none.
type osUser struct{ home string }

func findOSUser(context.Context, string) (*osUser, error) { return nil, nil } // there is none

func (*osUser) key() (string, error) { return "", nil }
