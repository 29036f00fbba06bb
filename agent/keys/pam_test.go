package keys

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"scrier/agent/account"
	"scrier/agent/keys/keystest"
	"scrier/agent/keys/worker"
	"scrier/wire"
)

func TestPAMModules(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	k := h.open(h.config())
	k.etc = h.Dir
	h.Must(os.Mkdir(filepath.Join(h.Dir, "pam.d"), 0o755))
	for name, text := range map[string]string{
		"plain":  "#%PAM-1.0\n\nauth required pam_unix.so nullok # why\n-session optional /lib/security/pam_systemd.so\n",
		"common": "account [success=1 new_authtok_reqd=done default=ignore]\tpam_unix.so\naccount requisite pam_deny.so\n",
		"debian": "@include common\nsession required pam_env.so user_readenv=1 \\\n  envfile=/etc/default/locale\n",
		"fedora": "account include common\nauth substack plain\n",
		"loop":   "@include loop\n@include loop\nauth required pam_unix.so\n",
		"gone":   "@include nothing\nauth required pam_shells.so\n",
		"half":   "auth required\nauth [default=ignore pam_unix.so\n",
		"huge":   strings.Repeat("#\n", maxPAMFile),
	} {
		h.Must(os.WriteFile(filepath.Join(h.Dir, "pam.d", name), []byte(text), 0o644))
	}
	for service, want := range map[string]string{
		"plain": "pam_unix nullok, pam_systemd, true", "common": "pam_unix, pam_deny, true",
		"debian": "pam_unix, pam_deny, pam_env user_readenv=1 envfile=/etc/default/locale, true",
		"fedora": "pam_unix, pam_deny, pam_unix nullok, pam_systemd, true",
		"gone":   "pam_shells, false", "half": "false", "huge": "false", "none": "false", "": "false", "../plain": "false",
	} {
		modules, ok := k.pamModules(service)
		got := ""
		for _, m := range modules {
			got += strings.Join(append([]string{m.name}, m.args...), " ") + ", "
		}
		if ok {
			got += "true"
		} else {
			got += "false"
		}
		if got != want {
			t.Errorf("%s: %s", service, got)
		}
	}
	if modules, ok := k.pamModules("loop"); ok || len(modules) > maxPAMFiles {
		t.Errorf("%d modules of a loop, %v", len(modules), ok)
	}
	// A shell must be in /etc/shells where pam_shells is, and only there.
	h.Must(os.WriteFile(filepath.Join(h.Dir, "shells"), []byte("# comment\n/bin/listed # yes\n"), 0o644))
	for _, c := range []struct {
		shell, service string
		pam            bool
		code           wire.Code
	}{
		{"/bin/listed", "gone", true, 0}, {"/bin/odd", "gone", true, wire.AccountNotLoginable}, {"/bin/odd", "plain", true, 0},
		{"/bin/odd", "gone", false, 0}, {"/bin/odd", "none", true, 0},
	} {
		err := k.loginable(t.Context(), daemon{pam: c.pam, pamService: c.service}, account.Account{Login: "ann", UID: 1001, Shell: c.shell}, worker.UsableShell)
		keystest.WantCode(t, err, c.code)
	}
}
