//go:build race

package keys

// emptyEnvironment of a worker: the race detector would sleep for a second at its end.
func emptyEnvironment() []string { return []string{"GORACE=atexit_sleep_ms=0"} }
