package relay

import (
	"context"
	"errors"

	"scrier/relay/access"
	"scrier/relay/files"
	"scrier/relay/session"
	"scrier/relay/session/transfer"
	"scrier/relay/sftp"
	"scrier/wire"
)

// pageFiles opens the channels of pages' files. It implements [files.Opener].
type pageFiles struct{ *Relay }

// OpenSFTP implements [files.Opener]. Whose session it is was looked at before.
func (r pageFiles) OpenSFTP(ctx context.Context, id wire.SessionID) (*files.Channel, error) {
	s, err := r.sessions.Find(id)
	if err != nil {
		return nil, err
	}
	// A page asks as often as it likes, also where there is no SFTP server. What it uses up is not the CLI's.
	if err := r.access.Channel(access.Operator{ID: s.OperatorID(), SignIn: "pages"}); err != nil {
		return nil, err
	}
	if err := r.sessions.Owes(s.OperatorID()); err != nil {
		return nil, err
	}
	c, err := s.More(ctx, &session.Request{Kind: wire.KindSSH, Channel: &wire.Channel{Kind: wire.SFTP}})
	if err != nil {
		return nil, err
	}
	stage, ok := c.Stage().(*transfer.Transfer)
	if !ok {
		err := errors.New("the channel is none for files")
		c.End(err)
		return nil, err
	}
	server, config, over, err := stage.Take()
	if err != nil {
		return nil, err
	}
	return &files.Channel{Server: server, Config: config, Owner: s.OperatorID(), Ended: func(_ sftp.Summary, err error) { over(err) }}, nil
}
