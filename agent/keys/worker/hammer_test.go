package worker

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/sys/unix"

	"scrier/wire"
)

// The test binary is also the process that becomes a user and does the same over and over.
const (
	hammerArg = "worker-hammer-under-test"
	appendArg = "worker-appender-under-test"
)

// direct does one request within this process, which has become the user.
func direct(w Worker, q Request) (Result, error) {
	q.UID = uint32(os.Getuid())
	text, err := cbor.Marshal(q)
	if err != nil {
		return Result{}, err
	}
	var out bytes.Buffer
	if status := w.work(bytes.NewReader(text), &out); status != 0 {
		return Result{}, fmt.Errorf("status %d", status)
	}
	var r Reply
	if err := readStrict(&out, maxAnswer, &r); err != nil {
		return Result{}, err
	}
	if err := r.check(q); err != nil {
		return Result{}, err
	}
	return r.Files[0], nil
}

// hammerJob says what such a process does.
type hammerJob struct {
	What       string // "flip" or "clean"
	Home       string
	Rounds     int
	Agent      string
	Line       string
	NoOpenat2  bool
	NoExchange bool
}

func testHammer() int {
	var job hammerJob
	if err := json.NewDecoder(os.Stdin).Decode(&job); err != nil {
		return 3
	}
	var err error
	switch job.What {
	case "flip":
		err = job.flip()
	case "clean":
		err = job.clean()
	}
	if err != nil {
		fmt.Println(err)
		return 4
	}
	return 0
}

// flip installs and removes while another thread exchanges .ssh and a link all the time. The link
// leads to a folder that the user may write, too. The work succeeds only when .ssh is the folder.
func (job hammerJob) flip() error {
	dir, link := filepath.Join(job.Home, ".ssh"), filepath.Join(job.Home, "link")
	stop := make(chan struct{})
	flips := make(chan int)
	go func() {
		n := 0
		for {
			if n%2 == 0 { // .ssh is the folder
				select {
				case <-stop:
					flips <- n
					return
				default:
				}
			}
			if unix.Renameat2(unix.AT_FDCWD, dir, unix.AT_FDCWD, link, unix.RENAME_EXCHANGE) == nil {
				n++
			}
		}
	}()
	w := Worker{NoOpenat2: job.NoOpenat2}
	q := Request{Home: job.Home, Files: []string{filepath.Join(dir, "authorized_keys")}, Agent: job.Agent, UTC: true, Strict: true}
	done := map[string]int{}
	for range job.Rounds {
		q := q
		q.Task, q.Line, q.Tail = Install, job.Line, true
		a, err := direct(w, q)
		if err != nil {
			return err
		}
		if a.Changed {
			q.Size, q.Tail = a.Size, a.Tail
			if a, err = direct(w, q); err != nil {
				return err
			}
		}
		done[fmt.Sprintf("install %v missing %v", a.Code, a.Missing)]++
		q.Task, q.Lines = Clean, []string{job.Line}
		if a, err = direct(w, q); err != nil {
			return err
		}
		done[fmt.Sprintf("clean %v missing %v", a.Code, a.Missing)]++
	}
	close(stop)
	n := <-flips
	fmt.Println(n, "flips", done)
	q.Task, q.Lines = Clean, []string{job.Line}
	_, err := direct(w, q)
	return err
}

// clean installs and removes as fast as it can.
func (job hammerJob) clean() error {
	q := Request{Home: job.Home, Files: []string{filepath.Join(job.Home, ".ssh/authorized_keys")}, Agent: job.Agent, UTC: true, Tail: true}
	w := Worker{NoExchange: job.NoExchange}
	neutralised := 0
	for range job.Rounds {
		q := q
		q.Task, q.Line = Install, job.Line
		for {
			a, err := direct(w, q)
			if err != nil {
				return err
			}
			if a.Code == wire.KeyfileChanged {
				continue
			}
			if a.Code != 0 {
				return fmt.Errorf("install: %v %s", a.Code, a.Detail)
			}
			if !a.Changed {
				break
			}
			q.Size, q.Tail = a.Size, a.Tail
		}
		q.Task, q.Lines = Clean, []string{job.Line}
		a, err := direct(w, q)
		if err != nil {
			return err
		}
		if a.Off {
			neutralised++
		} else if a.Code != 0 || a.Removed < 1 { // with those that were only neutralised before
			return fmt.Errorf("remove: %v %s, %d lines", a.Code, a.Detail, a.Removed)
		}
	}
	fmt.Println(neutralised, "neutralised")
	q.Task, q.Lines = Clean, []string{job.Line}
	_, err := direct(w, q)
	return err
}

// testAppender appends numbered lines to a file, each by its own open and write, until the stop
// file is there and the least number is reached; it prints how many.
func testAppender() int {
	file, stop := os.Args[2], os.Args[3]
	least, _ := strconv.Atoi(os.Args[4])
	n := 0
	for {
		if n >= least && n%100 == 0 {
			if _, err := os.Stat(stop); err == nil {
				break
			}
		}
		f, err := os.OpenFile(file, os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			fmt.Println(err)
			return 1
		}
		_, err = fmt.Fprintf(f, "# line %d\n", n)
		f.Close()
		if err != nil {
			fmt.Println(err)
			return 1
		}
		n++
		if n%20 == 0 {
			time.Sleep(50 * time.Microsecond) // leave the file quiet now and then, as people do
		}
	}
	fmt.Print(n)
	return 0
}
