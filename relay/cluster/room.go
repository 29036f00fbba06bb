package cluster

import (
	"context"
	"fmt"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// roomEvery is how often a member looks whether etcd has given up writing, and roomTime bounds what it does then: it writes
	// its file anew.
	roomEvery = time.Minute
	roomTime  = 2 * time.Minute
)

// MakeRoom lets etcd write again that has stopped because this member's file was too large. The file does not get smaller when what is in
// it does; so it is written anew, if that helps. The member answers nobody meanwhile. With no alarm it does nothing. There is no
// other way: etcd has no port by which a person could do it.
func (m *Member) MakeRoom(ctx context.Context) error {
	own := uint64(m.server.MemberID())
	alarmed := false
	for _, a := range m.server.Alarms() {
		alarmed = alarmed || a.MemberID == own && a.Alarm == pb.AlarmType_NOSPACE
	}
	if !alarmed {
		return nil
	}
	s, err := m.state(ctx)
	if err != nil {
		return err
	}
	if s.Used > m.cfg.Quota/4*3 {
		return fmt.Errorf("etcd has no room: of %d bytes %d are in use", m.cfg.Quota, s.Used)
	}
	m.cfg.Log.Warn("etcd has no room left: its file is written anew", "bytes", s.Size, "used", s.Used)
	if _, err := m.client.Defragment(ctx, ""); err != nil {
		return fmt.Errorf("write etcd's file anew: %w", err)
	}
	if _, err := m.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: own, Alarm: pb.AlarmType_NOSPACE}); err != nil {
		return fmt.Errorf("let etcd write again: %w", err)
	}
	return nil
}

// keepRoom does MakeRoom when it is needed, until the member ends.
func (m *Member) keepRoom() {
	tick := time.NewTicker(roomEvery)
	defer tick.Stop()
	for {
		select {
		case <-m.failed.done:
			return
		case <-tick.C:
		}
		ctx, cancel := context.WithTimeout(context.Background(), roomTime)
		if err := m.MakeRoom(ctx); err != nil {
			m.cfg.Log.Error("make room in etcd", "err", err)
		}
		cancel()
	}
}
