package desktop

import (
	"context"
	"io"
	"time"

	"scrier/relay/guac"
)

// rejoinTime is for guacd to take the root's viewer as another user.
const rejoinTime = 10 * time.Second

// rejoin has the root's viewer be a user who joins, and parks the root. guacd 1.3 starts to draw
// before its first user is registered, and drops what it draws until then: a busy machine may lose
// the size of the screen, which is said once, and all that is drawn on a screen without a size is
// lost. Who joins gets a whole picture.
func (u *user) rejoin() error {
	ctx, cancel := context.WithTimeout(u.desktop.ctx, rejoinTime)
	defer cancel()
	v, err := u.desktop.join(ctx, false)
	if err != nil {
		u.desktop.rootEnded(err)
		return err
	}
	u.place.Lock()
	defer u.place.Unlock()
	if u.left.Load() { // Close parks the root
		v.hangUp()
		return io.EOF
	}
	u.instead.Store(v)
	u.park()
	return nil
}

// park reads and answers what guacd sends the root, while it has no viewer.
func (u *user) park() {
	u.desktop.start(func() {
		u.unread()
		for {
			i, _, err := u.next()
			if err != nil {
				u.desktop.rootEnded(err)
				return
			}
			if i.Is("sync") && u.write(guac.Append(nil, "sync", string(i.Arg(0)))) != nil {
				continue // next sees why
			}
		}
	})
}

// unread waits until the Read that is under way has returned. Who reads once more finds the viewer gone,
// and does not wait for the parked root.
func (u *user) unread() {
	u.reading.Lock()
	defer u.reading.Unlock()
}
