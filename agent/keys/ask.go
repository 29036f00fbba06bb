package keys

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
	"time"

	"scrier/agent/account"
	"scrier/agent/become"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

const (
	workerBudget = 3 * time.Second        // for one worker, from start to answer
	killBudget   = 200 * time.Millisecond // for its end after SIGKILL; longer is a dead file system
)

// ask runs one worker as the account. The worker inherits lock, if there is one, so that the lock is
// held until the worker is gone, even when the agent dies before. unknown says that the worker may
// have done its work although there is an error.
func (k *Keys) ask(ctx context.Context, a account.Account, q worker.Request, lock *os.File) (r worker.Reply, unknown bool, err error) {
	q.UID, q.Home, q.Agent = a.UID, a.Home, k.cfg.Agent.String()
	text, err := q.Marshal()
	if err != nil {
		return r, false, wire.Errorf(wire.Internal, "write request: %w", err)
	}
	if a.UID == 0 || (!k.root && a.UID != k.uid) {
		return r, false, wire.Errorf(wire.LoginNotAllowed, "uid %d is not served", a.UID)
	}
	if err := k.pool.enter(ctx, a); err != nil {
		return r, false, err
	}
	defer func() { <-k.pool.slots }()
	caller := ctx
	ctx, cancel := budget(ctx, workerBudget, "the home of "+a.Login)
	defer cancel()

	in, toWorker, err := os.Pipe()
	if err != nil {
		return r, false, fmt.Errorf("make pipe: %w", err)
	}
	defer toWorker.Close()
	fromWorker, out, err := os.Pipe()
	if err != nil {
		in.Close()
		return r, false, fmt.Errorf("make pipe: %w", err)
	}
	defer fromWorker.Close()
	cmd := k.command()
	cmd.Stdin, cmd.Stdout = in, out
	if lock != nil {
		cmd.ExtraFiles = []*os.File{lock}
	}
	err = become.Start(cmd, k.user(a))
	in.Close()
	out.Close()
	if err != nil {
		return r, false, wire.Errorf(wire.Internal, "start worker as %s: %w", a.Login, err)
	}
	ended := make(chan error, 1)
	k.pool.wg.Add(1)
	go func() {
		defer k.pool.wg.Done()
		ended <- cmd.Wait()
	}()

	stop := context.AfterFunc(ctx, func() {
		past := time.Unix(1, 0)
		_ = toWorker.SetDeadline(past)
		_ = fromWorker.SetDeadline(past)
	})
	_, err = toWorker.Write(text)
	toWorker.Close()
	if err == nil || errors.Is(err, syscall.EPIPE) {
		r, err = worker.ReadReply(fromWorker, q)
	}
	stop()
	if err != nil {
		_ = cmd.Process.Kill() // it may not have ended
	}
	var exit error
	select {
	case exit = <-ended:
	case <-ctx.Done():
		if caller.Err() == nil {
			k.pool.setSlow(a.UID, k.cfg.Now().Add(slowTime))
		}
		exit = k.abandon(a, cmd, ended)
	}
	switch {
	case ctx.Err() != nil:
		return worker.Reply{}, true, wire.Cause(ctx, wire.KeyfileTimeout)
	case exit != nil:
		return worker.Reply{}, true, wire.Errorf(wire.Internal, "worker of %s: %w", a.Login, errors.Join(exit, err))
	case err != nil:
		return worker.Reply{}, true, wire.Errorf(wire.Internal, "answer of the worker of %s: %w", a.Login, err)
	}
	return r, false, nil
}

// command is the worker's: its environment is empty, and it starts in the root folder.
func (k *Keys) command() *exec.Cmd {
	return &exec.Cmd{Path: k.cfg.Worker[0], Args: k.cfg.Worker, Dir: "/", Env: append(emptyEnvironment(), k.env...)}
}

// user is whom the worker becomes. If the agent is not root, that is its own user (nil).
func (k *Keys) user(a account.Account) *become.User {
	if !k.root {
		return nil
	}
	return &become.User{UID: a.UID, GID: a.GID, Groups: a.Groups}
}

// abandon kills the worker and waits only a short time: a process that hangs in a file system that
// does not answer cannot even be killed.
func (k *Keys) abandon(a account.Account, cmd *exec.Cmd, ended chan error) error {
	_ = cmd.Process.Kill()
	select {
	case err := <-ended:
		return err
	case <-time.After(killBudget):
	}
	k.pool.mu.Lock()
	k.pool.stuck[a.UID]++
	k.pool.mu.Unlock()
	k.pool.wg.Go(func() {
		<-ended
		k.pool.mu.Lock()
		defer k.pool.mu.Unlock()
		if k.pool.stuck[a.UID]--; k.pool.stuck[a.UID] == 0 {
			delete(k.pool.stuck, a.UID)
		}
	})
	k.cfg.Log.Warn("a worker does not die; its home is left alone until it does", "login", a.Login, "pid", cmd.Process.Pid)
	return context.DeadlineExceeded
}
