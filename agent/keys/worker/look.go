package worker

import (
	"net/netip"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/sys/unix"

	"scrier/agent/keys/line"
	"scrier/wire"
)

// look matches the operator's keys against one file. What it finds in a file that sshd does not read, for its owner or
// mode, comes with that error.
func (w Worker) look(q Request, p *place) (Result, error) {
	f, err := p.open()
	if err != nil {
		return Result{}, err
	}
	defer f.close()
	a := Result{Size: f.st.Size, Tail: f.st.Size == 0}
	var last [1]byte
	if n, err := unix.Pread(f.fd, last[:], f.st.Size-1); f.st.Size > 0 && err == nil && n == 1 {
		a.Tail = last[0] == '\n' // who installs looks again
	}
	ask := line.Query{Now: time.Unix(q.Now, 0), Zone: q.zone(), DNS: q.DNS, Environment: q.Environment}
	var index []int
	for i, blob := range q.Keys {
		key, err := ssh.ParsePublicKey(blob)
		if err != nil {
			return a, wire.Errorf(wire.Internal, "read key: %w", err)
		}
		if k, ok := line.NewKey(key); ok {
			ask.Keys = append(ask.Keys, k)
			index = append(index, i)
		}
	}
	if q.Source != "" {
		var err error
		if ask.Source, err = netip.ParseAddr(q.Source); err != nil {
			return a, wire.Errorf(wire.Internal, "read source: %w", err)
		}
	}
	findings, err := ask.Find(&reader{f: f, most: p.most()})
	if err != nil {
		return a, err
	}
	for i, found := range findings {
		if found.Standing == line.Absent {
			continue
		}
		a.Found = append(a.Found, NewFound(index[i], found))
	}
	return a, p.loose
}

// zone is how sshd reads times. Local times are in the zone of /etc/localtime, as the worker's
// environment has no TZ; sshd's is the same, unless its service sets TZ.
func (q Request) zone() line.Zone { return line.Zone{Local: time.Local, UTC: q.UTC} }

// lookAtShell does what sshd's allowed_user does with a shell. It may be in the home, so it is looked at here.
func lookAtShell(name string) Shell {
	var st unix.Stat_t
	switch err := unix.Stat(name, &st); {
	case isMissing(err):
		return NoSuchShell
	case err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Mode&0o111 == 0):
		return NotExecutable
	}
	return UsableShell
}
