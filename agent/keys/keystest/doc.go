// Package keystest is what the tests of agent/keys and of its rooms share: machines with logins
// and homes, a real sshd, keys and lines. It imports nothing of what is tested.
package keystest
