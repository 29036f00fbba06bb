package ssh

import (
	"context"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"

	"scrier/relay/allowance"
	"scrier/wire"
)

// Person is whoever opens the session: for what the server says and asks before it lets them in.
type Person interface {
	// Said shows them text of the server's, which is not clean.
	Said(text string)
	// Ask asks them. The texts of a are clean; the caller wipes the answer, which has a text for each question.
	Ask(ctx context.Context, a *wire.Ask) (*wire.Answer, error)
}

// Names of authentication methods (RFC 4252, RFC 4256).
const (
	publicKey   = "publickey"
	interactive = "keyboard-interactive"
	password    = "password"
)

// What a server may say and ask in one login.
const (
	maxAttempts = 3   // of each method that asks, as ssh's NumberOfPasswordPrompts
	maxAsks     = 16  // rounds of questions
	maxRounds   = 100 // rounds, with those that ask nothing
	maxBanners  = 100

	maxText      = 4 << 10 // bytes, of what is said before questions
	maxQuestion  = 1 << 10 // bytes
	maxQuestions = 8 << 10 // bytes, of all questions of one round
)

// login is one authentication: the session's key first, and then what else the server wants. A server that refuses
// the key is not asked for other ways in.
type login struct {
	Config
	ctx      context.Context
	limit    *allowance.Limit // stands still while the person is asked
	over     context.Context  // ends when the server has ended the connection
	accepted func()           // the key is no longer needed

	attempts   map[string]int
	challenged bool // the server has asked or said something in keyboard-interactive
	asks       int
	rounds     int
	banners    int
	answered   bool
	tried      int  // attempts that had failed by the last next
	again      bool // what was answered last was not accepted
	failed     error
}

// next chooses the method of the next attempt.
func (l *login) next(c *ssh.ClientAuthContext) (ssh.AuthMethod, error) {
	offers := func(method string) bool { return slices.Contains(c.AllowedMethods, method) }
	half := slices.Contains(c.PartialSuccessMethods, publicKey)
	switch {
	case l.failed != nil:
		return nil, l.failed
	case l.over.Err() != nil:
		return nil, l.fail(wire.Errorf(wire.AuthFailed, "as %s: the SSH server ended the connection", l.Login))
	case slices.Contains(c.TriedMethods, publicKey):
		return nil, l.fail(wire.Errorf(wire.AuthFailed, "as %s: the SSH server refused the session's key", l.Login))
	case offers(publicKey) && !half:
		return ssh.PublicKeys(signers(l.Signer)...), nil
	case half:
		l.accepted()
	}
	l.again = l.answered && len(c.TriedMethods) > l.tried
	l.tried = len(c.TriedMethods)
	for _, method := range []string{interactive, password} {
		n := l.attempts[method]
		if !offers(method) || n >= maxAttempts || method == interactive && n > 0 && !l.challenged {
			continue
		}
		l.attempts[method]++
		if method == interactive {
			return ssh.KeyboardInteractive(l.challenge), nil
		}
		return ssh.PasswordCallback(l.password), nil
	}
	if l.answered {
		return nil, l.fail(wire.Errorf(wire.AuthFailed, "as %s: the SSH server did not accept what was answered", l.Login))
	}
	return nil, l.fail(wire.Errorf(wire.AuthFailed, "as %s: the SSH server wants %s besides the session's key", l.Login, listed(c.AllowedMethods)))
}

func (l *login) fail(err error) error {
	if l.failed == nil {
		l.failed = err
	}
	return l.failed
}

func (l *login) tooMuch(what string) error {
	return l.fail(wire.Errorf(wire.AuthFailed, "as %s: the SSH server %s", l.Login, what))
}

// banner takes a banner, or what PAM says of an account.
func (l *login) banner(text string) error {
	if l.banners++; l.banners > maxBanners {
		return l.tooMuch("sends banners without end")
	}
	l.said(text)
	return nil
}

func (l *login) said(text string) {
	if l.Person != nil && strings.TrimSpace(text) != "" {
		l.Person.Said(text)
	}
}

// challenge is one round of keyboard-interactive.
func (l *login) challenge(name, instruction string, questions []string, echos []bool) ([]string, error) {
	l.challenged = true
	if l.rounds++; l.rounds > maxRounds {
		return nil, l.tooMuch("goes on without end")
	}
	text := strings.TrimSpace(name + "\n" + instruction)
	if len(questions) == 0 {
		l.said(text)
		return nil, nil
	}
	if len(questions) > wire.MaxQuestions {
		return nil, l.tooMuch("asks too many questions at once")
	}
	ask := &wire.Ask{Text: wire.Lines(text, maxText)}
	size := 0
	for i, q := range questions {
		size += min(len(q), maxQuestion)
		ask.Questions = append(ask.Questions, wire.Question{Text: wire.Lines(q, maxQuestion), Echo: echos[i]})
	}
	if size > maxQuestions {
		return nil, l.tooMuch("asks too long questions")
	}
	return l.ask(ask)
}

func (l *login) password() (string, error) {
	answers, err := l.ask(&wire.Ask{Password: true, Questions: make([]wire.Question, 1)})
	if err != nil {
		return "", err
	}
	return answers[0], nil
}

// ask asks the person. The texts that it returns are for package ssh alone, which sends them.
func (l *login) ask(a *wire.Ask) ([]string, error) {
	if l.Person == nil {
		return nil, l.fail(wire.Errorf(wire.LoginUnanswered, "as %s: nobody can be asked", l.Login))
	}
	if l.asks++; l.asks > maxAsks {
		return nil, l.tooMuch("asks without end")
	}
	a.Again, l.again = l.again, false
	defer l.limit.Pause()()
	ctx, end := context.WithCancelCause(l.ctx)
	defer end(nil)
	defer context.AfterFunc(l.over, func() {
		end(wire.Errorf(wire.LoginUnanswered, "the SSH server ended the connection before it was answered"))
	})()
	answer, err := l.Person.Ask(ctx, a)
	if err != nil {
		return nil, l.fail(err)
	}
	defer answer.Wipe()
	if len(answer.Texts) != len(a.Questions) {
		return nil, l.fail(wire.Errorf(wire.Protocol, "%d answers to %d questions", len(answer.Texts), len(a.Questions)))
	}
	l.answered = true
	texts := make([]string, len(answer.Texts))
	for i, t := range answer.Texts {
		texts[i] = string(t)
	}
	return texts, nil
}
