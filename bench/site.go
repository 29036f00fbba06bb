package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// network is where the three of a site are: network namespaces ("" for one's own), and the
// addresses under which they see one another.
type network struct {
	operator, relay, envoy    string
	relayForOperator, relayIP string // relayIP is for the envoy
	envoyIP                   string // for the operator, whose ssh goes there directly
}

var loopback = network{relayForOperator: "127.0.0.1", relayIP: "127.0.0.1", envoyIP: "127.0.0.1"}

// site is a relay, an envoy with sshd and agent, and an operator who is logged in.
type site struct {
	*world
	net         network
	name        string
	conf        conf
	port        string // of sshd
	relay       string // its address for the operator
	operatorDir string // SCRIER_HOME
	known       string // known_hosts of plain ssh
}

// conf is what the configurations of a site have beside what all have.
type conf struct{ relay, agent string } // lines of server.yaml and agent.yaml

// newSite starts one. name makes its files' names its own.
func newSite(ctx context.Context, w *world, name string, n network) (*site, error) {
	return newSiteWith(ctx, w, name, n, conf{})
}

func newSiteWith(ctx context.Context, w *world, name string, n network, c conf) (*site, error) {
	s := &site{
		world: w, net: n, name: name, conf: c,
		operatorDir: filepath.Join(w.dir, name+"-operator"), known: filepath.Join(w.dir, name+"-known_hosts"),
	}
	var err error
	if s.port, err = freePort(); err != nil {
		return nil, err
	}
	sshdConf, err := s.startSSHD(ctx)
	if err != nil {
		return nil, err
	}
	return s, s.startScrier(ctx, sshdConf)
}

// freePort is one that nothing listens on here; in a namespace of our own every port is free.
func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return port, errors.Join(err, l.Close())
}

// startSSHD starts the one sshd that both ways end at, and returns its configuration's name.
func (s *site) startSSHD(ctx context.Context) (string, error) {
	dir := filepath.Join(s.dir, s.name+"-sshd")
	conf, key := filepath.Join(dir, "sshd_config"), filepath.Join(dir, "host_ed25519")
	if err := errors.Join(os.Mkdir(dir, 0o755), os.MkdirAll("/run/sshd", 0o755)); err != nil {
		return "", err
	}
	if _, err := runIt(exec.CommandContext(ctx, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", key)); err != nil {
		return "", err
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		return "", err
	}
	listen := s.net.envoyIP
	if listen != "127.0.0.1" {
		listen = "0.0.0.0" // the agent comes from loopback, plain ssh from outside
	}
	text := fmt.Sprintf(`Port %s
ListenAddress %s
HostKey %s
PidFile none
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PrintMotd no
PrintLastLog no
UseDNS no
Subsystem sftp internal-sftp
`, s.port, listen, key)
	known := fmt.Sprintf("[%s]:%s %s", s.net.envoyIP, s.port, public)
	if err := errors.Join(os.WriteFile(conf, []byte(text), 0o644), os.WriteFile(s.known, []byte(known), 0o644)); err != nil {
		return "", err
	}
	_, err = s.daemon(ctx, s.net.envoy, s.name+"-sshd", "Server listening on", exec.Command("/usr/sbin/sshd", "-D", "-e", "-f", conf))
	return conf, err
}

func (s *site) startScrier(ctx context.Context, sshdConf string) error {
	relay, agent := filepath.Join(s.dir, s.name+"-relay"), filepath.Join(s.dir, s.name+"-agent")
	listen, text := "127.0.0.1:0", s.conf.relay
	if s.net != loopback {
		listen = ":0"
		// Browsers are answered only by the names that they are to use.
		text += fmt.Sprintf("hosts: [%q]\n", s.net.relayForOperator)
	}
	if err := errors.Join(os.Mkdir(relay, 0o700), os.WriteFile(filepath.Join(relay, "server.yaml"), []byte(text), 0o600)); err != nil {
		return err
	}
	found, err := s.daemon(ctx, s.net.relay, s.name+"-relay", `listens on \S+:(\d+) .*\nfingerprint (\S+)\n`,
		exec.Command(s.scrier, "relay", "--state", relay, "--listen", listen))
	if err != nil {
		return err
	}
	port, fingerprint := found[0], found[1]
	s.relay = net.JoinHostPort(s.net.relayForOperator, port)
	// Tokens and operators are made over the admin socket, which no namespace hides.
	made, err := runIt(exec.CommandContext(ctx, s.scrier, "token", "create", "--name", "bench", "--json", "--state", relay))
	if err != nil {
		return err
	}
	var token struct{ Token string }
	if err := json.Unmarshal([]byte(made), &token); err != nil {
		return err
	}
	if _, err := s.inNamespace(ctx, s.net.envoy, "agent", "enroll", "--relay", net.JoinHostPort(s.net.relayIP, port), "--token", token.Token, "--state", agent); err != nil {
		return err
	}
	policy := fmt.Sprintf("ssh: {mode: sshd, addr: %q, sshd_config: %q}\n", net.JoinHostPort("127.0.0.1", s.port), sshdConf) + s.conf.agent
	if err := os.WriteFile(filepath.Join(agent, "agent.yaml"), []byte(policy), 0o600); err != nil {
		return err
	}
	if _, err := s.daemon(ctx, s.net.envoy, s.name+"-agent", "msg=connected", exec.Command(s.scrier, "agent", "run", "--state", agent)); err != nil {
		return err
	}
	if _, err := s.inNamespace(ctx, "", "operators", "create", "--username", "bench", "--role", "admin", "--ssh-key-file", s.key()+".pub", "--state", relay); err != nil {
		return err
	}
	_, err = s.inNamespace(ctx, s.net.operator, "login", s.relay, "--username", "bench", "--fingerprint", fingerprint)
	return err
}

// inNamespace runs a scrier command to its end, as the operator, and returns what it says.
func (s *site) inNamespace(ctx context.Context, namespace string, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	c := exec.CommandContext(ctx, s.scrier, args...)
	c.Env = s.environ()
	var said strings.Builder
	c.Stdout, c.Stderr = &said, &said
	err := within(namespace, c.Start)
	if err == nil {
		err = c.Wait()
	}
	if err != nil {
		return "", fmt.Errorf("run scrier %s: %w: %s", args[0], err, said.String())
	}
	return said.String(), nil
}

// environ is the operator's: nothing of the person who runs this is used.
func (s *site) environ() []string {
	return []string{
		"PATH=" + os.Getenv("PATH"), "HOME=" + filepath.Join(s.dir, "operator"), "SCRIER_HOME=" + s.operatorDir,
		"TERM=xterm-256color", "LANG=C.UTF-8",
	}
}

// viaScrier is the command that is measured.
func (s *site) viaScrier() *exec.Cmd {
	c := exec.Command(s.scrier, "ssh", "bench")
	c.Env = s.environ()
	return c
}

// viaSSH is what it is compared with: the same key, user and sshd, nothing shared between calls,
// and nothing that asks or looks elsewhere.
func (s *site) viaSSH() *exec.Cmd {
	c := exec.Command("ssh", "-F", "none", "-tt", "-p", s.port, "-i", s.key(),
		"-o", "IdentitiesOnly=yes", "-o", "BatchMode=yes", "-o", "ControlMaster=no", "-o", "ControlPath=none",
		"-o", "UserKnownHostsFile="+s.known, "-o", "GlobalKnownHostsFile=none", "-o", "StrictHostKeyChecking=yes",
		"-o", "UpdateHostKeys=no", s.login+"@"+s.net.envoyIP)
	c.Env = s.environ()
	return c
}
