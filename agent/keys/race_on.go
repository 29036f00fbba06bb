//go:build race

package keys

// emptyEnvironment is the environment of a worker. With the race detector the worker would sleep for
// a second when it ends, if this did not forbid it.
func emptyEnvironment() []string { return []string{"GORACE=atexit_sleep_ms=0"} }
