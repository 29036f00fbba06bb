package access

// Refused is how often something was refused, since the relay began, because it came too fast.
type Refused struct {
	Logins   uint64 // logins, sign-ins and enrolments, from networks where others have failed
	Changes  uint64 // and logins, of one operator
	Doors    uint64 // links that sign in, and sign-outs everywhere, of one operator
	Channels uint64 // of open sessions of one operator
	Passkeys uint64 // that were asked for
}

// Refused is how often that was until now.
func (a *Access) Refused() Refused {
	return Refused{
		Logins: a.attempts.refused.Load(), Changes: a.pace.changes.Load(), Doors: a.pace.doors.Load(),
		Channels: a.pace.channels.Load(), Passkeys: a.flows.refused.Load(),
	}
}
