package console

import (
	"html"
	"strconv"
	"strings"

	"scrier/wire"
)

// answer is how a question was answered.
type answer int

const (
	no answer = iota
	yes
	none // nobody answered in time
)

const title = "Scrier: screen sharing"

// dialog is a program that shows a window. Any way in which it can end counts as a no, except for
// the one that means yes.
type dialog struct {
	program, pkg string
	onX11        bool // shows windows on X11
	onWayland    bool // and on every Wayland compositor
	onWlroots    bool // or on those of the wlroots family
	ask          func(p prompt) []string
	answer       func(status int, printed string) answer
	show         func(p prompt) []string // its program ends when the user ends the sharing
}

// dialogs are all of them; the first that is installed and fits the screen is used.
func dialogs() []dialog { return []dialog{swaynag(), zenity(), xmessage(), kdialog()} }

// xmessage (x11-utils) exits with the status of the button that was pressed, with 0 when its time is
// over, and with 1 when the window is closed. A text never begins with a dash: see [prompt].
func xmessage() dialog {
	return dialog{
		program: "xmessage", pkg: "x11-utils", onX11: true,
		ask: func(p prompt) []string {
			return []string{
				"-title", title, "-center", "-timeout", strconv.Itoa(p.seconds()),
				"-buttons", "Allow:10,Deny:11", "-default", "Deny", latin1(p.question()),
			}
		},
		answer: func(status int, _ string) answer {
			switch status {
			case 10:
				return yes
			case 0:
				return none
			}
			return no
		},
		show: func(p prompt) []string {
			return []string{"-title", title, "-geometry", "-0+0", "-buttons", "End:12", latin1(p.notice("Press End"))}
		},
	}
}

// zenity exits with 0 for the button that means yes, 1 for the other, and 5 when its time is over.
// Without --no-markup a text would be Pango markup, and without --default-cancel Enter would mean yes.
func zenity() dialog {
	return dialog{
		program: "zenity", pkg: "zenity", onX11: true, onWayland: true,
		ask: func(p prompt) []string {
			return []string{
				"--question", "--title=" + title, "--no-markup", "--default-cancel", "--width=460", "--timeout=" + strconv.Itoa(p.seconds()),
				"--ok-label=Allow", "--cancel-label=Deny", "--text=" + p.question(),
			}
		},
		answer: func(status int, _ string) answer {
			switch status {
			case 0:
				return yes
			case 5:
				return none
			}
			return no
		},
		show: func(p prompt) []string {
			return []string{"--info", "--title=" + title, "--no-markup", "--width=320", "--ok-label=End", "--text=" + p.notice("Press End")}
		},
	}
}

// kdialog has no time-out of its own. In its questions Enter would press the button that means yes,
// so it shows a list instead, whose first item is no. It shows a text that looks like HTML as HTML;
// so every text is made HTML, with its special characters escaped.
func kdialog() dialog {
	rich := func(s string) string {
		return "<qt>" + strings.ReplaceAll(html.EscapeString(s), "\n", "<br>") + "</qt>"
	}
	return dialog{
		program: "kdialog", pkg: "kdialog", onX11: true, onWayland: true,
		ask: func(p prompt) []string {
			return []string{"--title", title, "--radiolist", rich(p.question()), "deny", "Deny", "on", "allow", "Allow", "off"}
		},
		answer: func(status int, printed string) answer {
			if status == 0 && strings.TrimSpace(printed) == "allow" {
				return yes
			}
			return no
		},
		show: func(p prompt) []string {
			return []string{"--title", title, "--msgbox", rich(p.notice("Press OK"))}
		},
	}
}

// swaynag (sway) shows one line, and its buttons cover the end of it. It has no time-out, and its
// exit status says nothing: a button runs a command, which here prints a word. Version 1.7 measures
// the text as Pango markup but shows it as it is, so the characters of markup are replaced.
func swaynag() dialog {
	line := strings.NewReplacer("<", "(", ">", ")", "&", "+", "\n", " ")
	common := []string{"-c", "/dev/null", "-t", "warning", "-y", "overlay", "-e", "top"}
	return dialog{
		program: "swaynag", pkg: "sway", onWlroots: true,
		ask: func(p prompt) []string {
			text := "Let \"" + p.operator + "\" " + p.ability() + "? " + p.purpose
			return append(common[:len(common):len(common)], "-m", line.Replace(text), "-s", "Deny", "-Z", "Allow", "echo "+allowed)
		},
		answer: func(_ int, printed string) answer {
			if printed == allowed+"\n" {
				return yes
			}
			return no
		},
		show: func(p prompt) []string {
			text := "\"" + p.operator + "\" sees this screen"
			if !p.view {
				text += " and can type"
			}
			return append(common[:len(common):len(common)], "-m", line.Replace(text), "-s", "End")
		},
	}
}

const allowed = "allow" // what swaynag's button prints

// dialog is the program that shows windows on s, with its path.
func (c *Console) dialog(s *screen) (dialog, string, error) {
	var wanted []string
	for _, d := range dialogs() {
		fits := d.onX11 && s.display != "" || d.onWayland && s.kind != x11 || d.onWlroots && s.kind == wlroots
		if !fits {
			continue
		}
		if found := c.programs.find(d.program); found != "" {
			return d, found, nil
		}
		wanted = append(wanted, d.program+" (package "+d.pkg+")")
	}
	return dialog{}, "", wire.Errorf(wire.ConsoleMissing, "no program that asks the user is installed: %s", strings.Join(wanted, " or "))
}
