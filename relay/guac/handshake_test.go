package guac_test

import (
	"context"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"scrier/relay/guac"
	"scrier/relay/guac/guactest"
	"scrier/wire"
)

// vector opens a connection and returns connect as the server heard it, as name=value, the empty
// ones left out.
func vector(t *testing.T, behave guactest.Behaviour, p guac.Params) (got []string, heard guactest.Connection) {
	t.Helper()
	s := guactest.Start(t, behave)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	if _, err := guac.Handshake(t.Context(), c, p); err != nil {
		t.Fatal(err)
	}
	heard = s.Connections()[0]
	if len(heard.Connect) != len(heard.Asked) {
		t.Fatalf("asked for %d values, got %d", len(heard.Asked), len(heard.Connect))
	}
	for n, name := range heard.Asked {
		if heard.Connect[n] != "" {
			got = append(got, name+"="+heard.Connect[n])
		}
	}
	return got, heard
}

func TestConnectHoldsExactlyThis(t *testing.T) {
	certificate := []byte{0xab, 0x01, 0x02, 0x03}
	rdp := guac.RDP{Hostname: "127.0.0.1", Port: 40001, Username: "ann", Domain: "CORP", Password: wire.NewSecret("p;a,s.s\U0001f600"),
		Security: wire.NLA, Certificate: certificate, Keyboard: "de-de-qwertz", Timezone: "Europe/Berlin", DrivePath: "/var/drive"}
	all := rdp
	all.Policy = everything
	view := rdp
	view.Policy = everything
	view.Policy.View = true
	vnc := guac.VNC{Hostname: "127.0.0.1", Port: 40002, Username: "bob", Password: wire.NewSecret("pw")}
	vncAll, vncView := vnc, vnc
	vncAll.Policy = everything
	vncView.Policy = guac.Policy{View: true}

	rdpBase := []string{"client-name=Scrier", "color-depth=32", "domain=CORP", "enable-font-smoothing=true", "enable-theming=true", "enable-wallpaper=true",
		"hostname=127.0.0.1", "password=p;a,s.s\U0001f600", "port=40001", "resize-method=display-update", "security=nla", "server-layout=de-de-qwertz",
		"timezone=Europe/Berlin", "username=ann"}
	drive := []string{"create-drive-path=true", "drive-name=Scrier", "drive-path=/var/drive", "enable-drive=true"}
	nothing := []string{"disable-audio=true", "disable-copy=true", "disable-download=true", "disable-paste=true", "disable-upload=true"}
	pinned, ignored := "cert-fingerprints=sha256:ab:01:02:03", "ignore-cert=true"
	vncBase := []string{"clipboard-encoding=ISO8859-1", "color-depth=24", "hostname=127.0.0.1", "password=pw", "port=40002", "username=bob"}
	vncNothing := []string{"disable-copy=true", "disable-paste=true"}
	fixed := "disable-display-resize=true"

	for name, c := range map[string]struct {
		behave guactest.Behaviour
		p      guac.Params
		want   [][]string
	}{
		"rdp 1.6":          {guactest.Version16, guac.Params{Protocol: "rdp", Args: rdp.Args()}, [][]string{rdpBase, nothing, {"VERSION_1_5_0=VERSION_1_5_0", pinned}}},
		"rdp 1.3":          {guactest.Version13, guac.Params{Protocol: "rdp", Args: rdp.Args()}, [][]string{rdpBase, nothing, {"VERSION_1_3_0=VERSION_1_3_0", ignored}}},
		"rdp 1.6, all":     {guactest.Version16, guac.Params{Protocol: "rdp", Args: all.Args()}, [][]string{rdpBase, drive, {"VERSION_1_5_0=VERSION_1_5_0", pinned}}},
		"rdp 1.6, look on": {guactest.Version16, guac.Params{Protocol: "rdp", Args: view.Args()}, [][]string{rdpBase, {"VERSION_1_5_0=VERSION_1_5_0", pinned, "read-only=true", "disable-paste=true"}}},
		"rdp, no certificate": {guactest.Version16, guac.Params{Protocol: "rdp", Args: guac.RDP{Hostname: "127.0.0.1", Port: 40001}.Args()},
			[][]string{{"VERSION_1_5_0=VERSION_1_5_0", ignored, "client-name=Scrier", "color-depth=32", "enable-font-smoothing=true", "enable-theming=true",
				"enable-wallpaper=true", "hostname=127.0.0.1", "port=40001", "resize-method=display-update", "security=any"}, nothing}},
		"vnc 1.6":          {guactest.Version16, guac.Params{Protocol: "vnc", Args: vnc.Args()}, [][]string{vncBase, vncNothing, {"VERSION_1_5_0=VERSION_1_5_0", fixed}}},
		"vnc 1.3":          {guactest.Version13, guac.Params{Protocol: "vnc", Args: vnc.Args()}, [][]string{vncBase, vncNothing, {"VERSION_1_3_0=VERSION_1_3_0"}}},
		"vnc 1.6, all":     {guactest.Version16, guac.Params{Protocol: "vnc", Args: vncAll.Args()}, [][]string{vncBase, {"VERSION_1_5_0=VERSION_1_5_0", fixed}}},
		"vnc 1.6, look on": {guactest.Version16, guac.Params{Protocol: "vnc", Args: vncView.Args()}, [][]string{vncBase, vncNothing, {"VERSION_1_5_0=VERSION_1_5_0", fixed, "read-only=true"}}},
		"vnc 1.0": {guactest.Version10, guac.Params{Protocol: "vnc", Args: vnc.Args(), Timezone: "UTC", Name: "ann"},
			[][]string{{"color-depth=24", "hostname=127.0.0.1", "password=pw", "port=40002", "username=bob"}}},
		"newer than we know": {guactest.UnknownVersion, guac.Params{Protocol: "vnc", Args: vnc.Args()}, [][]string{vncBase, vncNothing, {"VERSION_9_9_9=VERSION_1_5_0", fixed}}},
	} {
		t.Run(name, func(t *testing.T) {
			// Nobody is dialled: the vectors name ports that nobody has.
			got, heard := vector(t, c.behave, c.p)
			want := slices.Concat(c.want...)
			slices.Sort(got)
			slices.Sort(want)
			if !slices.Equal(got, want) {
				t.Errorf("connect holds\n%q, not\n%q", got, want)
			}
			for name := range c.p.Args {
				if strings.HasPrefix(name, "sftp") || strings.HasPrefix(name, "recording") || strings.HasPrefix(name, "wol") || strings.HasPrefix(name, "gateway") {
					t.Errorf("%s is set", name)
				}
			}
			if c.behave == guactest.Version10 && (heard.Said("timezone") || heard.Said("name")) {
				t.Error("1.0 is told what it does not know")
			}
		})
	}
}

func TestHandshakeSaysWhoLooksOn(t *testing.T) {
	_, heard := vector(t, guactest.Version16, guac.Params{Protocol: "vnc", Args: guac.VNC{Port: 1}.Args(), Width: 100000, Height: 1, DPI: 0,
		Audio: []string{"audio/L16"}, Video: []string{"video/mp4"}, Image: []string{"image/png"}, Timezone: "Asia/Tokyo", Name: "ann\U0001f600"})
	for _, i := range [][]string{{"select", "vnc"}, {"size", "8192", "200", "96"}, {"audio", "audio/L16"}, {"video", "video/mp4"}, {"image", "image/png"},
		{"timezone", "Asia/Tokyo"}, {"name", "ann\U0001f600"}} {
		if !heard.Said(i...) {
			t.Errorf("guacd did not hear %q but %q", i, heard.Heard)
		}
	}
}

func TestJoiningIsReadOnly(t *testing.T) {
	s := guactest.Start(t, guactest.Normal)
	owner := open(t, s.Addr(), guac.Params{Protocol: "vnc", Args: guac.VNC{}.Args()}, guac.Policy{})
	owner.picture()
	watcher := open(t, s.Addr(), guac.Params{Protocol: owner.conn.ID, ReadOnly: true}, guac.Policy{View: true})
	watcher.picture()
	if watcher.conn.ID != owner.conn.ID || s.Users(owner.conn.ID) != 2 {
		t.Errorf("%q joined %q, which has %d users", watcher.conn.ID, owner.conn.ID, s.Users(owner.conn.ID))
	}
	joined := s.Connections()[1]
	for name, value := range joined.Params {
		if (name == "read-only") != (value == "true") || name != "read-only" && value != "" {
			t.Errorf("joining sends %s=%s", name, value)
		}
	}
}

func TestHandshakeRefusesWhatGuacdCannotTake(t *testing.T) {
	s := guactest.Start(t, guactest.Normal)
	for name, p := range map[string]guac.Params{
		"no protocol":     {},
		"NUL":             {Protocol: "vnc", Args: map[string]string{"hostname": "a\x00b"}},
		"no text":         {Protocol: "vnc", Args: map[string]string{"password": "\xff"}},
		"long":            {Protocol: "vnc", Args: map[string]string{"password": strings.Repeat("a", 5000)}},
		"long name":       {Protocol: "vnc", Name: strings.Repeat("a", 5000)},
		"odd mimetype":    {Protocol: "vnc", Audio: []string{"\xff"}},
		"long protocol":   {Protocol: strings.Repeat("a", 5000)},
		"long altogether": {Protocol: "rdp", Args: longArgs()},
	} {
		_, err := tryOpen(t, s.Addr(), p, guac.Policy{})
		if wire.CodeOf(err) != wire.BadRequest {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && strings.Contains(err.Error(), "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa") {
			t.Errorf("%s: the error holds the value: %.100v", name, err)
		}
	}
}

func longArgs() map[string]string {
	args := map[string]string{}
	for n, name := range guactest.RDP16() {
		if n < 10 {
			args[name] = strings.Repeat("a", 4000)
		}
	}
	return args
}

func TestHandshakeEndsWithItsContext(t *testing.T) {
	for _, behave := range []guactest.Behaviour{guactest.Silent, guactest.ArgsThenSilent} {
		s := guactest.Start(t, behave)
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		cause := &wire.Error{Code: wire.Cancelled}
		ctx, cancel := context.WithCancelCause(t.Context())
		canceller := make(chan struct{})
		go func() {
			defer close(canceller)
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
				if all := s.Connections(); len(all) > 0 && all[0].Said("select") {
					break
				}
			}
			cancel(cause)
		}()
		_, err = guac.Handshake(ctx, c, guac.Params{Protocol: "vnc"})
		<-canceller
		if !errors.Is(err, cause) {
			t.Errorf("%s: %v", behave, err)
		}
		_ = c.Close()
	}
}

// behaviour is what a guacd of one behaviour comes to.
type behaviour struct {
	handshake wire.Code // how the handshake fails
	ends      wire.Code // how the session fails behind it: what Next, Pass or StatusOf report
	never     []string  // opcodes that must not reach the viewer
	told      int       // how many acks refuse something
	more      []string  // opcodes that reach the viewer besides
	policy    guac.Policy
}

func TestEveryBehaviourOfGuacdIsSurvived(t *testing.T) {
	// what the misbehaving ones come to; all others draw a picture
	comesTo := map[guactest.Behaviour]behaviour{
		guactest.Silent:            {handshake: wire.GuacdUnavailable},
		guactest.ArgsThenSilent:    {handshake: wire.GuacdUnavailable},
		guactest.ClosesAfterSelect: {handshake: wire.GuacdUnavailable},
		guactest.ClosesAfterArgs:   {handshake: wire.GuacdUnavailable},
		guactest.ErrorForArgs:      {handshake: wire.DesktopFailed},
		guactest.ErrorBeforeReady:  {handshake: wire.Protocol},
		guactest.ReadyFirst:        {handshake: wire.Protocol},
		guactest.ManyNames:         {handshake: wire.Protocol},
		guactest.OddVersion:        {handshake: wire.VersionMismatch},
		guactest.EmptyID:           {handshake: wire.Protocol},
		guactest.EndlessNops:       {handshake: wire.Protocol},
		guactest.NotFound:          {ends: wire.TargetRefused},
		guactest.Unauthorized:      {ends: wire.DesktopLogin},
		guactest.WrongSecurity:     {ends: wire.DesktopSecurity},
		guactest.UpstreamTimeout:   {ends: wire.DesktopFailed},
		guactest.UnavailableAtOnce: {ends: wire.DesktopFailed},
		guactest.Loses:             {ends: wire.AgentTimeout}, // of this test: the caller's watchdog
		guactest.HangsAfterReady:   {ends: wire.AgentTimeout}, // of this test: the caller's watchdog
		guactest.EndlessDigits:     {ends: wire.Protocol},
		guactest.HugeInstruction:   {ends: wire.Protocol},
		guactest.BadUTF8:           {ends: wire.Protocol},
		guactest.NegativeLength:    {ends: wire.Protocol},
		guactest.LongElement:       {ends: wire.Protocol},
		guactest.WrongTerminator:   {ends: wire.Protocol},
		guactest.BreaksOff:         {ends: wire.AgentLost}, // of this test: the stream's end
		guactest.ManyStreams:       {ends: wire.Protocol},
		guactest.HugeLayer:         {ends: wire.Protocol},
		guactest.ManyLayers:        {ends: wire.Protocol},
		guactest.HugePicture:       {ends: wire.Protocol},
		guactest.Asks:              {ends: wire.AgentTimeout, more: []string{"required"}},
		guactest.AsksOddly:         {ends: wire.AgentTimeout, never: []string{"required"}},
		guactest.Forbidden:         {told: 3, never: []string{"pipe", "argv", "video", "nest", "png", "constructor", "__proto__", "set", "select", "log"}},
		guactest.PushesClipboard:   {told: 1, never: []string{"clipboard"}},
		guactest.SendsFile:         {told: 1, never: []string{"file", "filesystem"}},
		guactest.PlaysAudio:        {told: 1, never: []string{"audio"}},
		guactest.ReadyTwice:        {never: []string{"ready"}},
		guactest.Disconnects:       {never: []string{"disconnect"}},
	}
	for _, behave := range guactest.All() {
		t.Run(behave.String(), func(t *testing.T) {
			t.Parallel()
			want := comesTo[behave]
			s := guactest.Start(t, behave, guactest.Ping(50*time.Millisecond))
			c, err := net.Dial("tcp", s.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			counted := &counting{Conn: c}
			conn, err := guac.HandshakeWithin(t.Context(), counted, guac.Params{Protocol: "vnc", Args: guac.VNC{}.Args()}, limit(behave), limit(behave))
			if wire.CodeOf(err) != want.handshake {
				t.Fatalf("the handshake: %v", err)
			}
			if err != nil {
				if counted.read > 300<<10 {
					t.Errorf("%d bytes were read", counted.read)
				}
				return
			}
			got := watch(t, counted, conn, want)
			if wire.CodeOf(got.err) != want.ends {
				t.Errorf("the session ends with %v", got.err)
			}
			if want.ends == wire.None && got.passed["img"] == 0 {
				t.Errorf("no picture: %v", got.passed)
			}
			for _, opcode := range want.never {
				if got.passed[opcode] > 0 {
					t.Errorf("%s reaches the viewer", opcode)
				}
			}
			for _, opcode := range want.more {
				if got.passed[opcode] == 0 {
					t.Errorf("%s does not reach the viewer", opcode)
				}
			}
			if got.told != want.told {
				t.Errorf("guacd was refused %d streams instead of %d", got.told, want.told)
			}
			if want.ends == wire.Protocol && counted.read > 4<<20 {
				t.Errorf("%d bytes were read before the end", counted.read)
			}
		})
	}
}

// limit is how long a handshake is waited for: shortly where nothing will come.
func limit(b guactest.Behaviour) time.Duration {
	if b == guactest.Silent || b == guactest.ArgsThenSilent {
		return 300 * time.Millisecond
	}
	return 30 * time.Second
}

// counting counts what is read.
type counting struct {
	net.Conn
	read int
}

func (c *counting) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.read += n
	return n, err
}

// watched is what became of a session.
type watched struct {
	passed map[string]int
	told   int
	err    error
}

// watch is a relay that gives up when nothing but nop came for a second, or 30 where something
// must come. It is content when the picture was there ten times, or once and then nothing.
func watch(t *testing.T, c net.Conn, conn *guac.Connection, want behaviour) watched {
	t.Helper()
	f := guac.NewFromGuacd(want.policy)
	w := watched{passed: map[string]int{}}
	wait := func() {
		quiet := 30 * time.Second
		if want.ends == wire.AgentTimeout || want.ends == wire.None && w.passed["sync"] > 0 {
			quiet = time.Second
		}
		_ = c.SetReadDeadline(time.Now().Add(quiet))
	}
	wait()
	for w.passed["sync"] < 10 {
		i, err := conn.Next()
		if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() {
			if w.passed["sync"] == 0 {
				w.err = &wire.Error{Code: wire.AgentTimeout}
			}
			return w
		}
		if err != nil {
			if errors.Is(err, io.EOF) && w.passed["sync"] > 0 {
				return w // after disconnect
			}
			w.err = err
			if wire.CodeOf(err) != wire.Protocol {
				w.err = &wire.Error{Code: wire.AgentLost, Err: err}
			}
			return w
		}
		if e := guac.StatusOf(i); e != nil {
			w.err = e
			return w
		}
		pass, reply, err := f.Pass(i)
		if err != nil {
			w.err = err
			return w
		}
		if reply != nil {
			w.told++
			if _, err := c.Write(reply); err != nil {
				t.Error(err)
			}
		}
		if pass {
			w.passed[string(i.Opcode())]++
			if !i.Is("nop") {
				wait()
			}
		}
	}
	return w
}

func TestJoinRefused(t *testing.T) {
	s := guactest.Start(t, guactest.JoinRefused)
	owner := open(t, s.Addr(), guac.Params{Protocol: "vnc", Args: guac.VNC{}.Args()}, guac.Policy{})
	owner.picture()
	for _, id := range []string{owner.conn.ID, "$00000000-0000-4000-8000-000000000000"} {
		if _, err := tryOpen(t, s.Addr(), guac.Params{Protocol: id, ReadOnly: true}, guac.Policy{}); wire.CodeOf(err) != wire.NotFound {
			t.Errorf("%s: %v", id, err)
		}
	}
}
