package keys

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"

	"scrier/agent/account"
	"scrier/agent/keys/line"
	"scrier/agent/program"
	"scrier/wire"
)

// Mode says where ephemeral keys go.
type Mode string

const (
	Home   Mode = "home"   // into the file that holds the operator's own key
	Dropin Mode = "dropin" // into DropinDir/LOGIN, which sshd must read; needs root
)

// maxLifetime is how long a line works at most, if nobody takes it away.
const maxLifetime = 120 * time.Second

// Config is what an agent chooses. Agent and StateDir are required.
type Config struct {
	Agent    wire.EnvoyID // stands in each line, so that an agent removes only its own
	StateDir string       // the journal is in StateDir/sessions
	LockDir  string       // default /run/scrier as root, else StateDir/lock; never in a home

	Mode      Mode   // default Home
	DropinDir string // default /run/scrier/keys

	Addr               string   // where sshd listens, host:port, as Match blocks see it; default 127.0.0.1:22
	SSHD               string   // the sshd program; default: the first in /usr/sbin, /usr/local/sbin, PATH
	SSHDConfig         string   // its configuration; default: its own default
	AuthorizedKeysFile []string // instead of what sshd says; tokens %h %u %U %%

	AllowedLogins []string      // default: every regular user
	Source        string        // addresses from which the session reaches sshd; default "127.0.0.1,::1"
	Lifetime      time.Duration // of an installed line; default and at most 120 s

	Worker []string // how to run [worker.Worker.Work]; default /proc/self/exe agent keys-worker
	Now    func() time.Time
	Log    *slog.Logger
}

// Keys finds logins and gives them ephemeral keys. It is safe for concurrent use.
type Keys struct {
	local   string     // sshd's address as `sshd -T -C` wants it
	usual   netip.Addr // from which sshd sees a session come, where nothing else is chosen
	cfg     Config
	sources []netip.Addr
	root    bool
	uid     uint32
	env     []string // of workers; only tests set it

	database account.Database
	etc      string   // "/etc"
	secret   [32]byte // of operators' own addresses

	journal journal
	locks   locks
	daemon  daemonCache
	scanned hostKeyCache
	list    listCache
	pool    pool

	pendingMu sync.Mutex
	pending   map[string][]*record // neutralised lines by file, to be cleaned with the next removal

	reach func(point string) // called at each point where a crash is tried; only tests set it
}

// New checks cfg and prepares the journal; it touches no home and starts nothing.
func New(cfg Config) (*Keys, error) {
	if cfg.Agent == (wire.EnvoyID{}) || cfg.StateDir == "" {
		return nil, wire.Errorf(wire.BadConfig, "keys: agent id and state directory are required")
	}
	k := &Keys{root: os.Geteuid() == 0, uid: uint32(os.Geteuid()), pending: map[string][]*record{}, reach: func(string) {}}
	var err error
	if cfg.StateDir, err = filepath.Abs(cfg.StateDir); err != nil {
		return nil, fmt.Errorf("find state directory: %w", err)
	}
	if cfg.Mode == "" {
		cfg.Mode = Home
	}
	if cfg.Mode != Home && cfg.Mode != Dropin {
		return nil, wire.Errorf(wire.BadConfig, "keys: %q is neither home nor dropin", wire.Printable(string(cfg.Mode)))
	}
	if cfg.Mode == Dropin && !k.root {
		return nil, wire.Errorf(wire.BadConfig, "keys: dropin needs an agent that runs as root")
	}
	if cfg.DropinDir == "" {
		cfg.DropinDir = "/run/scrier/keys"
	}
	if cfg.LockDir == "" {
		cfg.LockDir = filepath.Join(cfg.StateDir, "lock")
		if k.root {
			cfg.LockDir = "/run/scrier"
		}
	}
	if cfg.Source == "" {
		cfg.Source = "127.0.0.1,::1"
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:22"
	}
	host, port, err := net.SplitHostPort(cfg.Addr)
	if err != nil {
		return nil, wire.Errorf(wire.BadConfig, "keys: %q is not host:port", wire.Printable(cfg.Addr))
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	k.local = "laddr=" + host + ",lport=" + port
	k.usual = netip.AddrFrom4([4]byte{127, 0, 0, 1})
	if addr, err := netip.ParseAddr(host); err == nil && addr.Is6() && !addr.Is4In6() {
		k.usual = netip.IPv6Loopback()
	}
	for _, s := range strings.Split(cfg.Source, ",") {
		addr, err := netip.ParseAddr(s)
		if err != nil || addr.Zone() != "" || len(k.sources) >= line.MaxSources-1 {
			return nil, wire.Errorf(wire.BadConfig, "keys: %q is no list of addresses", wire.Printable(cfg.Source))
		}
		k.sources = append(k.sources, addr)
	}
	if cfg.Lifetime == 0 {
		cfg.Lifetime = maxLifetime
	}
	if cfg.Lifetime < time.Second || cfg.Lifetime > maxLifetime {
		return nil, wire.Errorf(wire.BadConfig, "keys: lifetime %v is not within 1 s and %v", cfg.Lifetime, maxLifetime)
	}
	if len(cfg.Worker) == 0 {
		cfg.Worker = []string{"/proc/self/exe", "agent", "keys-worker"}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Worker, cfg.AllowedLogins = slices.Clone(cfg.Worker), slices.Clone(cfg.AllowedLogins)
	k.cfg = cfg
	k.database, k.etc = account.System(), "/etc"
	rand.Read(k.secret[:])
	k.pool = newPool(max(4, 2*runtime.NumCPU()))
	k.locks = locks{dir: cfg.LockDir, held: map[string]*heldLock{}}
	if k.journal, err = openJournal(filepath.Join(cfg.StateDir, "sessions")); err != nil {
		return nil, err
	}
	return k, nil
}

// Close waits for workers that are still running, but not long: a worker may hang in a file system
// that does not answer. It does not remove installed keys; [Installed.Remove] does.
func (k *Keys) Close() error { return k.pool.close(time.Second) }

// Operator is whose login is looked for.
type Operator struct {
	Keys []ssh.PublicKey
	// Source is the operator's address, which from= in front of a key is held against. Only the relay
	// knows it. The zero value: nobody says.
	Source netip.Addr
	// Session is the session's public key, which must be of a type that sshd takes; nil: nothing is installed.
	Session ssh.PublicKey
	Name    string // as which they have an address of their own on loopback, see [Approach]
	Use     Use
}

// Match is a login that holds one of the operator's keys, as [Keys.Find] has found it.
type Match struct {
	Login string
	File  string        // where the operator's key is; or, if it comes from a command, where the session's goes
	Key   ssh.PublicKey // the operator's key that matched
	Grant line.Grant    // what the session may do: no more than it is for, and than the key gives
	// Sockets says that the key lets forwards connect to unix sockets, for an SSH server that keeps them apart from where
	// this machine lets forwards go. sshd does not.
	Sockets bool

	NotAfter time.Time // when the operator's own line expires; zero: never
	Approach Approach
	Unread   []string // logins whose homes were not looked at, because they do not answer or are too many

	who     account.Account
	size    int64
	tail    bool
	zone    line.Zone
	strict  bool
	private []uint32
}

// findProgram looks in folders and then in PATH. The agent may run as root, so folders of the
// system come first.
func findProgram(name string, folders ...string) string {
	return program.Find(name, append(folders, filepath.SplitList(os.Getenv("PATH"))...)...)
}

// budget is a context that ends after d, with an error that names what took so long.
func budget(ctx context.Context, d time.Duration, what string) (context.Context, context.CancelFunc) {
	return context.WithTimeoutCause(ctx, d, wire.Errorf(wire.KeyfileTimeout, "%s took more than %v", what, d))
}
