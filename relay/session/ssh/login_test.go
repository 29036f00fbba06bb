package ssh

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/wire"
	"scrier/wire/wiretest"
)

// strict is a server that lets in by steps, and what it saw of the client.
type strict struct {
	config ssh.ServerConfig
	seen   []string
	wait   time.Duration // before it opens a channel
}

// dial is a client's connection to s; both are in a synctest bubble.
func (s *strict) dial(t *testing.T, p Person, authenticated func()) (*Client, error) {
	t.Helper()
	near, far := wiretest.Streams()
	host, signer := newSigner(t), newSigner(t)
	s.config.AddHostKey(host)
	var serving sync.WaitGroup
	serving.Go(func() {
		conn, channels, requests, err := ssh.NewServerConn(&wire.NetConn{Stream: far, End: func(s wire.Stream) { s.Reset(wire.None) }}, &s.config)
		if err != nil {
			return
		}
		go ssh.DiscardRequests(requests)
		for c := range channels {
			time.Sleep(s.wait)
			channel, requests, err := c.Accept()
			if err != nil {
				break
			}
			go func() {
				for r := range requests {
					_ = r.Reply(true, nil)
				}
			}()
			defer channel.Close()
		}
		_ = conn.Wait()
	})
	t.Cleanup(func() {
		near.Reset(wire.None)
		serving.Wait()
	})
	_, _ = near.Write(Greeting)
	if authenticated == nil {
		authenticated = func() {}
	}
	return Dial(t.Context(), near, Config{Signer: signer, Login: "ann", HostKeys: [][]byte{host.PublicKey().Marshal()}, Authenticated: authenticated, Person: p})
}

// then accepts any key, and wants what next says as well.
func then(next ssh.ServerAuthCallbacks) ssh.ServerConfig {
	return ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
		return nil, &ssh.PartialSuccessError{Next: next}
	}}
}

// person answers as a function says, and remembers what they heard.
type talker struct {
	answer func(context.Context, *wire.Ask) ([]string, error)
	heard  []string
}

func (p *talker) Said(text string) { p.heard = append(p.heard, "said "+text) }

func (p *talker) Ask(ctx context.Context, a *wire.Ask) (*wire.Answer, error) {
	what := "asked " + a.Text
	for _, q := range a.Questions {
		what += fmt.Sprintf(" %q %v", q.Text, q.Echo)
	}
	if a.Password {
		what += " password"
	}
	if a.Again {
		what += " again"
	}
	p.heard = append(p.heard, what)
	texts, err := p.answer(ctx, a)
	if err != nil {
		return nil, err
	}
	answer := &wire.Answer{}
	for _, t := range texts {
		answer.Texts = append(answer.Texts, []byte(t))
	}
	return answer, nil
}

func with(texts ...string) func(context.Context, *wire.Ask) ([]string, error) {
	return func(context.Context, *wire.Ask) ([]string, error) { return texts, nil }
}

// What a server says and asks behind the key reaches the person, and rounds without a question pass by themselves. The
// key is given back before anybody is asked.
func TestKeyboardInteractive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &strict{}
		tries := 0
		s.config = then(ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: func(_ ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			if _, err := ask("Hello", "nothing\x1b[m to ask", nil, nil); err != nil {
				return nil, err
			}
			answers, err := ask("Two-factor", "read the token", []string{"Code: ", "Name\nin full: "}, []bool{false, true})
			if err != nil {
				return nil, err
			}
			if tries++; tries < 2 || !slices.Equal(answers, []string{"123", "Ann"}) {
				return nil, errors.New("no")
			}
			_, err = ask("", "welcome", nil, nil)
			return nil, err
		}})
		s.config.BannerCallback = func(ssh.ConnMetadata) string { return "Authorized use only.\n" }
		back := false
		p := &talker{answer: func(context.Context, *wire.Ask) ([]string, error) {
			if !back {
				t.Error("the key is kept while a person is asked")
			}
			return []string{"123", "Ann"}, nil
		}}
		c, err := s.dial(t, p, func() { back = true })
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		want := []string{
			"said Authorized use only.\n", "said Hello\nnothing\x1b[m to ask", "asked Two-factor\nread the token \"Code:\" false \"Name\\nin full:\" true",
			"said Hello\nnothing\x1b[m to ask", "asked Two-factor\nread the token \"Code:\" false \"Name\\nin full:\" true again", "said welcome",
		}
		if !slices.Equal(p.heard, want) {
			t.Errorf("heard\n%q, not\n%q", p.heard, want)
		}
	})
}

// A password is asked for three times, and not at all by a server that refuses the key.
func TestPassword(t *testing.T) {
	password := func(seen *[]string, right string) func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
		return func(_ ssh.ConnMetadata, p []byte) (*ssh.Permissions, error) {
			*seen = append(*seen, string(p))
			if string(p) != right {
				return nil, errors.New("no")
			}
			return nil, nil
		}
	}
	for what, c := range map[string]struct {
		right string
		code  wire.Code
		heard string
		seen  string
	}{
		"right": {"wrong2", wire.None, "asked  \"\" false password,asked  \"\" false password again", "wrong1,wrong2"},
		"wrong": {"x", wire.AuthFailed, "asked  \"\" false password,asked  \"\" false password again,asked  \"\" false password again", "wrong1,wrong2,wrong3"},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &strict{}
				s.config = then(ssh.ServerAuthCallbacks{PasswordCallback: password(&s.seen, c.right)})
				n := 0
				p := &talker{answer: func(context.Context, *wire.Ask) ([]string, error) {
					n++
					return []string{fmt.Sprintf("wrong%d", n)}, nil
				}}
				client, err := s.dial(t, p, nil)
				if err == nil {
					client.Close()
				}
				if wire.CodeOf(err) != c.code || strings.Join(p.heard, ",") != c.heard || strings.Join(s.seen, ",") != c.seen {
					t.Errorf("%v; heard %q, the server %q", err, p.heard, s.seen)
				}
			})
		})
	}
	t.Run("the key is refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &strict{config: ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) { return nil, errors.New("no") }}}
			s.config.PasswordCallback = password(&s.seen, "")
			p := &talker{answer: with("secret")}
			if _, err := s.dial(t, p, nil); wire.CodeOf(err) != wire.AuthFailed || !strings.Contains(wire.DetailOf(err), "refused the session's key") || len(p.heard)+len(s.seen) > 0 {
				t.Errorf("%v; heard %q, the server %q", err, p.heard, s.seen)
			}
		})
	})
	t.Run("nobody is there", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			s := &strict{}
			s.config = then(ssh.ServerAuthCallbacks{PasswordCallback: password(&s.seen, "")})
			if _, err := s.dial(t, nil, nil); wire.CodeOf(err) != wire.LoginUnanswered || len(s.seen) > 0 {
				t.Errorf("%v; the server %q", err, s.seen)
			}
		})
	})
}

// Each step has its own time, and a person's is not the server's.
func TestSlowLogins(t *testing.T) {
	slow := func(d time.Duration) ssh.ServerConfig {
		return ssh.ServerConfig{PublicKeyCallback: func(ssh.ConnMetadata, ssh.PublicKey) (*ssh.Permissions, error) {
			time.Sleep(d)
			return nil, nil
		}}
	}
	open := func(s *strict, p Person) func(*testing.T) error {
		return func(t *testing.T) error {
			c, err := s.dial(t, p, nil)
			if err != nil {
				return err
			}
			defer c.Close()
			_, err = c.Start(t.Context(), Program{PTY: &PTY{}})
			return err
		}
	}
	thinking := &strict{config: then(ssh.ServerAuthCallbacks{PasswordCallback: func(ssh.ConnMetadata, []byte) (*ssh.Permissions, error) {
		time.Sleep(100 * time.Second)
		return nil, nil
	}})}
	for what, c := range map[string]struct {
		open func(*testing.T) error
		late string
	}{
		"an authentication of 90 s":  {open(&strict{config: slow(90 * time.Second)}, nil), ""},
		"an authentication of 150 s": {open(&strict{config: slow(150 * time.Second)}, nil), "waited 2m for the SSH server's authentication"},
		"a shell of 50 s":            {open(&strict{config: slow(0), wait: 50 * time.Second}, nil), ""},
		"a shell of 70 s":            {open(&strict{config: slow(0), wait: 70 * time.Second}, nil), "waited 1m for the SSH server to open the shell"},
		"a person who thinks": {open(thinking, &talker{answer: func(context.Context, *wire.Ask) ([]string, error) {
			time.Sleep(10 * time.Minute)
			return []string{"x"}, nil
		}}), ""},
	} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				err := c.open(t)
				if c.late == "" && err != nil || c.late != "" && (wire.CodeOf(err) != wire.SSHTimeout || !strings.HasPrefix(wire.DetailOf(err), c.late)) {
					t.Error(err)
				}
			})
		})
	}
}

// When the server ends the connection while a person is asked, they are asked no longer.
func TestServerGoesWhileItAsks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &strict{}
		ended := make(chan struct{})
		s.config = then(ssh.ServerAuthCallbacks{KeyboardInteractiveCallback: func(c ssh.ConnMetadata, ask ssh.KeyboardInteractiveChallenge) (*ssh.Permissions, error) {
			time.AfterFunc(time.Minute, func() { close(ended) })
			_, err := ask("", "", []string{"Code: "}, []bool{false})
			return nil, err
		}})
		near, far := wiretest.Streams()
		host := newSigner(t)
		s.config.AddHostKey(host)
		var serving sync.WaitGroup
		conn := &wire.NetConn{Stream: far, End: func(s wire.Stream) { s.Reset(wire.None) }}
		serving.Go(func() { _, _, _, _ = ssh.NewServerConn(conn, &s.config) })
		serving.Go(func() {
			<-ended
			_ = conn.Close()
		})
		defer serving.Wait()
		_, _ = near.Write(Greeting)
		start := time.Now()
		p := &talker{answer: func(ctx context.Context, _ *wire.Ask) ([]string, error) {
			<-ctx.Done()
			return nil, context.Cause(ctx)
		}}
		_, err := Dial(t.Context(), near, Config{Signer: newSigner(t), Login: "ann", HostKeys: [][]byte{host.PublicKey().Marshal()}, Authenticated: func() {}, Person: p})
		if wire.CodeOf(err) != wire.LoginUnanswered || time.Since(start) != time.Minute {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}
