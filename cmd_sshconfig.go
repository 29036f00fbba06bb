//go:build !agentonly

package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"scrier/client"
	"scrier/client/openssh"
	"scrier/wire"
)

func sshConfigCommand() *cobra.Command {
	var o sshConfigOptions
	c := &cobra.Command{
		Use:   "ssh-config [--install|--remove] [--suffix SUFFIX]",
		Short: "Have ssh, scp, rsync, Ansible and others reach envoys",
		Long: `Print a configuration for ssh with which the names of envoys work behind a suffix: ssh web1` + openssh.Suffix + `, scp report.pdf web1` + openssh.Suffix + `:,
and whatever else uses ssh. The connections go through "scrier proxy". Nobody is asked for a fingerprint: the key of the
proxy is one that was made on this machine, and is written down beside the configuration.

--install writes it to the folder ssh in $SCRIER_HOME, and one line at the top of ~/.ssh/config that includes it. It may be run again,
for example to have new envoys offered when names are completed; names work without that too. --remove takes both away, and
leaves everything else as it was, byte by byte.

USER@, -l and -o User say who to be on the envoy. If nobody is named, and your configuration names nobody for that host either,
it is the one who has your key.
` + exitHelp("0    it is as you want it", wire.BadConfig),
		Example: `  scrier ssh-config --install
  scrier ssh-config --install --suffix .lab --relay lab.example.com
  scrier ssh-config >config && ssh -F config web1` + openssh.Suffix,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, args []string) error { return o.run(c) },
	}
	c.Flags().BoolVar(&o.install, "install", false, "write it, and have ~/.ssh/config include it")
	c.Flags().BoolVar(&o.remove, "remove", false, "take away what --install has written")
	c.Flags().StringVar(&o.suffix, "suffix", openssh.Suffix, "what stands behind the names of envoys (`SUFFIX`)")
	c.Flags().StringVar(&o.relay, "relay", "", "for the envoys of the relay at `HOST:PORT` instead of the current one")
	c.MarkFlagsMutuallyExclusive("install", "remove")
	return c
}

// sshConfigOptions are the flags of `scrier ssh-config`.
type sshConfigOptions struct {
	install, remove bool
	suffix, relay   string
}

func (o *sshConfigOptions) run(c *cobra.Command) error {
	home, err := client.FindHome()
	if err != nil {
		return err
	}
	config := sshConfigOf(home)
	config.Suffix = o.suffix
	if o.relay != "" {
		if config.Relay, err = wire.RelayAddress(o.relay); err != nil {
			return err
		}
	}
	path := userConfig()
	if o.remove {
		changed, err := config.Remove(path)
		if err == nil && changed {
			fmt.Fprintf(c.OutOrStdout(), "%s is as it was before.\n", path)
		}
		return err
	}
	key, err := home.HostKey()
	if err != nil {
		return err
	}
	config.HostKey = key.PublicKey()
	if config.Program, err = programPath(); err != nil {
		return err
	}
	if dir := os.Getenv("SCRIER_HOME"); dir != "" { // who starts ssh later may not have it
		if config.Home, err = filepath.Abs(dir); err != nil {
			return err
		}
	}
	if config.Names, err = o.names(c.Context()); err != nil {
		fmt.Fprintln(os.Stderr, "scrier: names of envoys are not offered for completion, as the relay did not tell them:")
		report(os.Stderr, typed(err))
	}
	if !o.install {
		if err := config.WriteKnownHosts(); err != nil {
			return err
		}
		_, err := fmt.Fprint(c.OutOrStdout(), config.Text())
		return err
	}
	changed, err := config.Install(path)
	if err != nil {
		return err
	}
	if changed {
		fmt.Fprintf(c.OutOrStdout(), "%s has one line more, at its top.\n", path)
	}
	_, err = fmt.Fprintf(c.OutOrStdout(), "ENVOY%s works with ssh now, and with what uses it.\n", o.suffix)
	return err
}

// names are those of the envoys.
func (o *sshConfigOptions) names(ctx context.Context) (names []string, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, 15*time.Second, wire.Errorf(wire.RelayUnreachable, "the relay does not answer"))
	defer cancel()
	envoys, err := ask[envoy](ctx, place{target: target{relay: o.relay}}, "/envoys")
	for _, e := range envoys {
		if inUse(e) {
			names = append(names, e.Hostname)
		}
	}
	return names, err
}

// sshConfigOf are our files for ssh.
func sshConfigOf(home client.Home) openssh.Config {
	dir := filepath.Join(home.Dir, "ssh")
	if abs, err := filepath.Abs(dir); err == nil {
		dir = abs
	}
	return openssh.Config{Dir: dir, Suffix: openssh.Suffix}
}

// userConfig is ~/.ssh/config, where ssh looks for it: not in $HOME.
func userConfig() string {
	dir, _ := os.UserHomeDir()
	if u, err := user.LookupId(strconv.Itoa(os.Getuid())); err == nil && runtime.GOOS != "windows" {
		dir = u.HomeDir
	}
	return filepath.Join(dir, ".ssh", "config")
}

// programPath is the path of this program, by the name that it was started with if that still leads here: an update may put
// another file behind it.
func programPath() (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", wire.Errorf(wire.Internal, "the path of this program is not known: %w", err)
	}
	named, err := exec.LookPath(os.Args[0])
	if err != nil {
		return self, nil
	}
	if named, err = filepath.Abs(named); err != nil {
		return self, nil
	}
	one, err := os.Stat(named)
	other, oerr := os.Stat(self)
	if err != nil || oerr != nil || !os.SameFile(one, other) {
		return self, nil
	}
	return named, nil
}
