package web

import (
	"net/http"
	"testing"

	"scrier/wire"
)

// A code that status does not name has the HTTP status of its class.
func TestStatusOfClass(t *testing.T) {
	for _, class := range wire.Classes() {
		if got := status(class.First + 99); got != statusOfClass[class.First] || got < 400 || got > 599 {
			t.Errorf("a code of %q has status %d", class.Meaning, got)
		}
	}
	if len(statusOfClass) != len(wire.Classes()) {
		t.Error("there is a status of no class")
	}
	if got := status(wire.MaxCode + 1); got != http.StatusInternalServerError {
		t.Errorf("no code has status %d", got)
	}
}
