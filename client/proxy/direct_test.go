package proxy

import (
	"context"
	"errors"
	"io"
	"net"
	"strconv"
	"sync"

	"golang.org/x/crypto/ssh"

	"scrier/client"
	"scrier/wire"
)

// direct is a [Session] that is an SSH connection to a real sshd, as a relay has one.
type direct struct {
	*ssh.Client
	done chan struct{}
	err  error
	// refuses says what is not allowed.
	refuses func(right wire.Right) error
}

func newDirect(client *ssh.Client, refuses func(wire.Right) error) *direct {
	d := &direct{Client: client, done: make(chan struct{}), refuses: refuses}
	go func() {
		err := client.Wait()
		d.err = &wire.Error{Code: wire.AgentLost, Detail: "the machine's sshd has gone", Err: err}
		close(d.done)
	}()
	return d
}

func (d *direct) Done() <-chan struct{} { return d.done }
func (d *direct) Err() error            { <-d.done; return d.err }

func (d *direct) may(rights ...wire.Right) error {
	for _, r := range rights {
		if d.refuses != nil {
			if err := d.refuses(r); err != nil {
				return err
			}
		}
	}
	return nil
}

func failed(err error) error {
	return &wire.Error{Code: wire.ForwardFailed, Detail: err.Error(), Err: err}
}

// directProgram is a [Program].
type directProgram struct {
	*ssh.Session
	*io.PipeReader // standard output
	errs           *io.PipeReader
	in             io.WriteCloser
	wait           func() (*wire.Exit, error)
}

func (d *direct) Program(_ context.Context, req client.ProgramRequest) (Program, error) {
	right := wire.MayExec
	if len(req.Command) == 0 && req.Subsystem == "" {
		right = wire.MayShell
	}
	if err := d.may(right); err != nil {
		return nil, err
	}
	s, err := d.NewSession()
	if err != nil {
		return nil, failed(err)
	}
	p := &directProgram{Session: s}
	p.in, _ = s.StdinPipe()
	out, _ := s.StdoutPipe()
	errs, _ := s.StderrPipe()
	p.PipeReader, p.errs = until(out), until(errs)
	for name, value := range req.Env {
		_ = s.Setenv(name, value)
	}
	if req.Agent {
		if ok, err := s.SendRequest("auth-agent-req@openssh.com", true, nil); err != nil || !ok {
			return nil, failed(errors.New("no agent"))
		}
	}
	if t := req.PTY; t != nil {
		ok, err := s.SendRequest("pty-req", true, ssh.Marshal(struct {
			Term             string
			Cols, Rows, W, H uint32
			Modes            []byte
		}{t.Term, uint32(t.Size.Cols), uint32(t.Size.Rows), 0, 0, t.Modes}))
		if err != nil || !ok {
			return nil, failed(errors.New("no terminal"))
		}
	}
	switch {
	case req.Subsystem != "":
		err = s.RequestSubsystem(req.Subsystem)
	case len(req.Command) > 0:
		err = s.Start(string(req.Command))
	default:
		err = s.Shell()
	}
	if err != nil {
		_ = s.Close()
		return nil, failed(err)
	}
	subsystem := req.Subsystem != ""
	p.wait = sync.OnceValues(func() (*wire.Exit, error) {
		if subsystem {
			return new(wire.Exit), nil
		}
		err := s.Wait()
		if e, ok := errors.AsType[*ssh.ExitError](err); ok {
			return &wire.Exit{Status: uint32(e.ExitStatus()), Signal: e.Signal()}, nil
		}
		if err != nil {
			return nil, d.Err() // as a session's programs do
		}
		return new(wire.Exit), nil
	})
	return p, nil
}

// until is r up to where the reader is closed.
func until(r io.Reader) *io.PipeReader {
	pr, pw := io.Pipe()
	go func() {
		_, err := io.Copy(pw, r)
		pw.CloseWithError(err)
	}()
	return pr
}

func (p *directProgram) Close() error {
	_ = p.PipeReader.Close()
	_ = p.errs.Close()
	return p.Session.Close()
}

func (p *directProgram) Write(b []byte) (int, error) { return p.in.Write(b) }
func (p *directProgram) Stderr() io.Reader           { return p.errs }
func (p *directProgram) CloseWrite() error           { return p.in.Close() }
func (p *directProgram) CloseOutput() error {
	_, err := p.SendRequest("eow@openssh.com", false, nil)
	return err
}
func (p *directProgram) Resize(s wire.Size) error { return p.WindowChange(int(s.Rows), int(s.Cols)) }
func (p *directProgram) Wait(context.Context) (*wire.Exit, error) {
	return p.wait()
}

func (d *direct) SFTP(context.Context) (client.Conn, error) {
	if err := d.may(wire.MayDownload); err != nil {
		return nil, err
	}
	ch, requests, err := d.OpenChannel("session", nil)
	if err != nil {
		return nil, failed(err)
	}
	go ssh.DiscardRequests(requests)
	if ok, err := ch.SendRequest("subsystem", true, ssh.Marshal(struct{ Name string }{"sftp"})); err != nil || !ok {
		return nil, failed(errors.New("no subsystem"))
	}
	return ch, nil
}

func (d *direct) Dial(_ context.Context, network, host string, port uint16, _ net.Addr) (client.Conn, error) {
	if err := d.may(wire.MayForward); err != nil {
		return nil, err
	}
	if network == "tcp" {
		host = net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	c, err := d.Client.Dial(network, host)
	if err != nil {
		return nil, failed(err)
	}
	return c.(client.Conn), nil
}

// directListener is a [Listener].
type directListener struct {
	net.Listener
	arrived chan client.Conn
	done    chan struct{}
	once    sync.Once
}

func (d *direct) Listen(_ context.Context, network, host string, port uint16) (Listener, error) {
	if err := d.may(wire.MayReverse); err != nil {
		return nil, err
	}
	var l net.Listener
	var err error
	if network == "unix" {
		l, err = d.ListenUnix(host)
	} else {
		l, err = d.ListenTCP(&net.TCPAddr{IP: net.ParseIP(host), Port: int(port)})
	}
	if err != nil {
		return nil, failed(err)
	}
	dl := &directListener{Listener: l, arrived: make(chan client.Conn), done: make(chan struct{})}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			dl.give(c.(client.Conn))
		}
	}()
	return dl, nil
}

func (l *directListener) give(c client.Conn) {
	select {
	case l.arrived <- c:
	case <-l.done:
		_ = c.Close()
	}
}

func (l *directListener) Accept(ctx context.Context) (client.Conn, string, uint16, error) {
	select {
	case c := <-l.arrived:
		return c, "192.0.2.7", 4711, nil
	case <-l.done:
		return nil, "", 0, net.ErrClosed
	case <-ctx.Done():
		return nil, "", 0, ctx.Err()
	}
}

func (l *directListener) Port() uint16 {
	if a, ok := l.Addr().(*net.TCPAddr); ok {
		return uint16(a.Port)
	}
	return 0
}

func (l *directListener) Close() (err error) {
	l.once.Do(func() {
		close(l.done)
		if l.Listener != nil {
			err = l.Listener.Close()
		}
	})
	return err
}

func (d *direct) ListenAgent(context.Context) (Listener, error) {
	if err := d.may(wire.MayAgent); err != nil {
		return nil, err
	}
	channels := d.HandleChannelOpen("auth-agent@openssh.com")
	if channels == nil {
		return nil, failed(errors.New("somebody else has it"))
	}
	l := &directListener{arrived: make(chan client.Conn), done: make(chan struct{})}
	go func() {
		for c := range channels {
			ch, requests, err := c.Accept()
			if err != nil {
				continue
			}
			go ssh.DiscardRequests(requests)
			l.give(ch)
		}
	}()
	return l, nil
}
