package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// ordered is this program once more, in a role, which does what it is told: one JSON value on its standard input is an
// order, and one on its standard output the answer. It ends with its input. So the agents and operators of the part scale
// are in a namespace and are a user that this process is not.
type ordered struct {
	name string
	cmd  *exec.Cmd
	to   *json.Encoder
	in   io.Closer
	from *json.Decoder
}

// answer is an order's, whatever was asked.
type answer[T any] struct {
	Error string
	Value T
}

// thisProgram can be started by anybody, wherever it lies.
const thisProgram = "/proc/self/exe"

// order starts the program in a role, in a namespace. conf is the first order, which has no answer.
func (w *world) order(program, namespace, role, name string, as *syscall.Credential, conf any) (*ordered, error) {
	c := exec.Command(program, role)
	c.Env = append(os.Environ(), "QUIC_GO_DISABLE_RECEIVE_BUFFER_WARNING=true", "HOME="+w.home)
	c.Dir = "/"
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: as}
	log, err := os.Create(filepath.Join(w.dir, name+".log"))
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	c.Stderr = log
	in, err := c.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := within(namespace, c.Start); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	o := &ordered{name: name, cmd: c, to: json.NewEncoder(in), in: in, from: json.NewDecoder(out)}
	w.later(o.end)
	return o, o.to.Encode(conf)
}

// end closes its input, and waits.
func (o *ordered) end() error {
	if o.cmd.ProcessState != nil {
		return nil
	}
	_ = o.in.Close() // it may have ended
	late := time.AfterFunc(patience, func() { _ = o.cmd.Process.Kill() })
	defer late.Stop()
	if err := o.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", o.name, err)
	}
	return nil
}

// tell gives an order and waits for its answer; what it is about is for the two to know. One that takes longer than
// anything should is the program's last.
func tell[T any](ctx context.Context, o *ordered, order any) (T, error) {
	ctx, cancel := context.WithTimeout(ctx, scaleLimit)
	defer cancel()
	stop := context.AfterFunc(ctx, func() { _ = o.cmd.Process.Kill() })
	defer stop()
	var got answer[T]
	err := o.to.Encode(order)
	if err == nil {
		err = o.from.Decode(&got)
	}
	if err == nil && got.Error != "" {
		err = errors.New(got.Error)
	}
	if ctx.Err() != nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		return got.Value, fmt.Errorf("%s: %w", o.name, err)
	}
	return got.Value, nil
}

// obey is the other side: it reads conf and then orders, until there are no more.
func obey[C, O any](conf *C, do func(O) (any, error)) error {
	from, to := json.NewDecoder(os.Stdin), json.NewEncoder(os.Stdout)
	if err := from.Decode(conf); err != nil {
		return err
	}
	for {
		var order O
		if err := from.Decode(&order); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		value, err := do(order)
		got := answer[any]{Value: value}
		if err != nil {
			got.Error = err.Error()
		}
		if err := to.Encode(got); err != nil {
			return err
		}
	}
}

// swarmRoles serves one of the two roles, if args name it.
func swarmRoles(args []string) (status int, ok bool) {
	if len(args) == 0 {
		return 0, false
	}
	role, ok := map[string]func() error{swarmRole: swarmMain, operatorsRole: operatorsMain}[args[0]]
	if !ok {
		return 0, false
	}
	if err := role(); err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", args[0], err)
		return 1, true
	}
	return 0, true
}
