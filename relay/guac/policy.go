package guac

// Policy is what a viewer of a desktop may do. What is not set is not allowed.
type Policy struct {
	ToEnvoy   bool // the viewer's clipboard may be sent to the desktop
	FromEnvoy bool // the desktop's clipboard comes
	Upload    bool // files may be put on the drive
	Download  bool // files may be taken from it
	Audio     bool
	View      bool // look only: no key, no pointer, no stream to the desktop
}

// files says whether the drive is shown at all.
func (p Policy) files() bool { return p.Upload || p.Download }
