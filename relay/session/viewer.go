package session

// Viewer is who wants to see a session: the right that a ticket stands for.
type Viewer struct {
	OperatorID string
	Operator   string // username
	SignIn     string // of a browser; the viewer ends with it
	Source     string // where from, for the audit log
	Watch      bool   // read-only
	Channel    uint32 // the number of the session's channel; 0: the first
	Aside      uint64 // not 0: it is no viewer, but a lane of the one that was offered it, see [wire.Aside]
	// Check says now and then whether the viewer's sign-in still counts, before what they typed is
	// taken (then it is in use), and while they watch. The error ends the viewer. It may be nil.
	Check func(typed bool) error
}
