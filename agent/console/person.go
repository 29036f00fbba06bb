package console

import (
	"context"
	"os/exec"

	"scrier/agent/account"
	"scrier/agent/become"
	"scrier/wire"
)

// person is a login of this machine whose screen may be shared.
type person struct {
	login string
	uid   uint32
	home  string
	who   *become.User // nil: the agent's own user
}

// begin starts cmd as p. The zero person is the agent itself.
func (c *Console) begin(cmd *exec.Cmd, p person) error {
	return become.Start(cmd, p.who)
}

// person looks up a uid.
func (c *Console) person(ctx context.Context, uid uint32) (person, error) {
	a, ok, err := c.database.UID(ctx, uid)
	if err != nil {
		return person{}, err
	}
	if !ok {
		return person{}, wire.Errorf(wire.ConsoleEmpty, "uid %d has no account", uid)
	}
	p := person{login: a.Login, uid: uid, home: a.Home}
	if !c.root {
		return p, nil
	}
	one := []account.Account{a}
	if err := c.database.AddGroups(ctx, one); err != nil {
		c.log.Debug("supplementary groups are not known", "err", err) // the primary group has to do
	}
	p.who = &become.User{UID: uid, GID: a.GID, Groups: one[0].Groups}
	return p, nil
}

// env is what a program on the person's screen gets, beside where the screen is.
func (c *Console) env(p person, more ...string) []string {
	return append([]string{
		c.programs.path(), "HOME=" + p.home, "USER=" + p.login, "LOGNAME=" + p.login, "SHELL=/bin/sh", "LANG=C.UTF-8",
	}, more...)
}

func (c *Console) plainEnv() []string { return []string{c.programs.path(), "LC_ALL=C"} }
