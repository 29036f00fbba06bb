package client

import "time"

// Stamp is a time for people: in the zone of this machine, which it names, as the relay may be in another.
func Stamp(t time.Time) string { return t.Local().Format("2006-01-02 15:04:05 -07:00") }
