// Record runs programs of Debian's in a terminal of 80x24 and writes what they print to the folder above it,
// as root, in namespaces of their own, so that nothing of the machine is in it:
//
//	apt-get install vim htop less tmux mc
//	go run ./relay/screen/testdata/record
package main

import (
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/creack/pty"
)

const (
	still = 400 * time.Millisecond // a program that prints nothing for so long waits for keys
	most  = 4 * time.Second
)

// session is a program and what is typed, each piece when the one before has had its effect.
type session struct {
	name, command string
	keys          []string
}

var sessions = []session{
	{"ls", `ls --color=always -la /usr/bin /usr/lib | head -400`, nil},
	{"vim", `vim -n -u NONE -N --cmd 'syntax on' -c 'set nu hls' /usr/share/vim/vim90/defaults.vim`, []string{"\x06", "/set\r", "nn", "ddp", ":split\r", "iHello 日本語 é\x1b", ":vsp\r", "\x17\x17G", ":q!\r", "\x04"}},
	{"vim-quit", `vim -n -u NONE -N /etc/services; echo back`, []string{"\x06\x06", "x", ":q!\r"}},
	{"less", `less -R /etc/services`, []string{" ", " ", "/http\r", "n", "b", "G", "g", "-S\r", "q"}},
	{"htop", `htop`, []string{"\x1b[B", "t", "h", "\x1b", "\x1b[15~", "q"}},
	{"top", `top -n 2 -d 0.3`, nil},
	{"mc", `mc -x /usr/lib /usr/share`, []string{"\x1b[B\x1b[B\x1b[B", "\x1bOR", "q\x1b", "\t", "\x1b9", "\x1b[C", "\x1b[B"}},
	{"tmux", `tmux -L rec -f /dev/null new 'bash --norc'`, []string{"ls --color /usr/lib\r", "\x02%", "cat /etc/services\r", "\x02\"", "seq 200\r", "\x02o", "\x02[", "\x1b[5~", "q", "printf '日本語 e\u0301 \\033[4:3mcurly\\033[m\\n'\r"}},
	{"text", `cat hello.txt hello.txt; printf '%s' "$(seq 1 300 | tr '\n' ' ')"`, nil},
	{"progress", `for i in $(seq 0 4 100); do printf '\r\033[K\033[42m%*s\033[m %d%%' $((i/2)) '' $i; done; printf '\033[1;23r\033[24;1H\033[7mstatus\033[m\033[22;1H'; seq 40; printf '\0337\033[24;1Hdone\0338\033[r\033[23;1H'`, nil},
	{"lines", `printf '\033)0\016lqqqqk\r\nx    x\r\nmqqqqj\017\r\n'; tput smcup; tput cup 5 5; tput rev; echo alt; tput sgr0; tput rmcup; echo; tabs 4 >/dev/null; printf 'a\tb\tc\n'; clear; printf '\033]0;a title\007\033[?1;1006;1002;2004h\033=prompt$ '`, nil},
}

// greetings has scripts of all kinds: wide ones, such that join, and such that go from right to left.
const greetings = `Deutsch: Grüß Gott, Ελληνικά: Γεια σας, Русский: Здравствуйте
日本語: こんにちは、世界。半角ｶﾅ、全角ＡＢＣ
한국어: 안녕하세요 ( decomposed: 안녕 )
中文: 你好，世界！𠮷野家
हिन्दी: नमस्ते, ไทย: สวัสดีครับ, தமிழ்: வணக்கம், עברית: שלום, العربية: السلام عليكم
e̊́x combining, Z̷͉a̸̛l̶g̴o̵
👋 🌍 👩‍👩‍👧‍👦 👨🏽‍🚀 🏳️‍🌈 🇩🇪🇫🇷🇯🇵 ❤️ ☺ ☺️ 1️⃣ 🏴󠁧󠁢󠁥󠁮󠁧󠁿
┌──┬──┐ ▀▄█▌▐ ←↑→↓ ⠿⠷ ℃ ① … “quotes” – — •
`

func main() {
	out, err := filepath.Abs("relay/screen/testdata")
	check(err)
	home, err := os.MkdirTemp("", "home")
	check(err)
	defer os.RemoveAll(home)
	check(os.WriteFile(filepath.Join(home, "hello.txt"), []byte(greetings), 0o600))
	for _, s := range sessions {
		check(os.WriteFile(filepath.Join(out, s.name+".out"), s.record(home), 0o644))
	}
}

func (s session) record(home string) []byte {
	inside := `mount -t tmpfs none /run && hostname box && cd "$HOME" && ` + s.command
	c := exec.Command("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--uts", "--net", "bash", "-c", inside)
	c.Env = []string{"HOME=" + home, "TERM=xterm-256color", "LANG=C.UTF-8", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "PS1=$ ", "TMUX_TMPDIR=" + home}
	tty, err := pty.StartWithSize(c, &pty.Winsize{Cols: 80, Rows: 24})
	check(err)
	read := make(chan []byte)
	go func() {
		defer close(read)
		for {
			buf := make([]byte, 4096)
			n, err := tty.Read(buf)
			if n > 0 {
				read <- buf[:n]
			}
			if err != nil {
				return
			}
		}
	}()
	var all []byte
	settle := func() {
		end := time.After(most)
		for {
			select {
			case p, ok := <-read:
				if !ok {
					return
				}
				all = append(all, p...)
			case <-time.After(still):
				return
			case <-end:
				return
			}
		}
	}
	settle()
	for _, k := range s.keys {
		_, _ = tty.WriteString(k) // a program that has ended takes no keys
		settle()
	}
	_ = c.Process.Kill()
	_ = tty.Close()
	for range read { // until the namespace has ended
	}
	_ = c.Wait()
	if strings.Contains(string(all), home) {
		all = []byte(strings.ReplaceAll(string(all), home, "/home/mary"))
	}
	return all
}

func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
