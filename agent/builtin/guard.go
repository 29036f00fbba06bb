package builtin

import (
	"sync"

	"scrier/agent/builtin/worker"
)

// A guard is a worker that knows which programs run, and hangs up on them if this process is killed and cannot do
// so itself. It starts with the first program. Its methods may be called concurrently.
type guard struct {
	server *Server

	mu     sync.Mutex // held while it is told, so that it hears all in order
	peer   *peer      // nil: none runs
	pids   map[int]bool
	closed bool
}

// watch names a session's first process. It must be called before the process is reaped, as forget must.
func (g *guard) watch(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.pids == nil {
		g.pids = make(map[int]bool)
	}
	g.pids[pid] = true
	g.tellLocked(worker.Watch, pid)
}

func (g *guard) forget(pid int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.pids, pid)
	g.tellLocked(worker.Forget, pid)
}

// tellLocked starts a guard if none runs, and tells it of all that it has to know then. Without a guard programs run all the same.
func (g *guard) tellLocked(do string, pid int) {
	if g.closed || g.peer != nil && g.peer.send(worker.Request{Do: do, Number: uint32(pid)}) == nil {
		return
	}
	if g.peer != nil { // somebody has killed it
		g.peer.end()
		g.peer = nil
	}
	if len(g.pids) == 0 {
		return
	}
	p, err := g.server.startPeer(worker.Guard)
	if err != nil {
		g.server.log.Error("start guard", "login", g.server.Login(), "err", err)
		return
	}
	g.peer = p
	for pid := range g.pids {
		if err := p.send(worker.Request{Do: worker.Watch, Number: uint32(pid)}); err != nil {
			g.server.log.Error("tell guard", "login", g.server.Login(), "err", err)
			return
		}
	}
}

// close ends the guard. Nothing may be running any more.
func (g *guard) close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	if g.peer != nil {
		g.peer.end()
		g.peer = nil
	}
}
