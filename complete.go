//go:build !agentonly

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"scrier/client"
	"scrier/wire"
)

// offerTime bounds what is asked of a relay while a person waits behind Tab. It is too short for a relay that is far away
// and slow: nothing is offered then.
const offerTime = 800 * time.Millisecond

// An offer is a word that may stand at the cursor, and what a person is told about it.
type offer struct{ word, about string }

// A place is where the cursor is: the relay that the command line means, the arguments before the word, and what is
// typed of it.
type place struct {
	target
	args  []string
	typed string
}

// An offering finds what may stand at a place. It may ask the relay; it never asks the person, and changes nothing.
type offering func(ctx context.Context, at place) ([]offer, error)

// completions has the shells offer, for each argument and flag, what its description names.
func completions(root *cobra.Command) {
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	arguments := map[string]cobra.CompletionFunc{
		"scrier login":          first(offerRelays),
		"scrier relays use":     first(offerLogins),
		"scrier ssh":            first(offerAtEnvoy),
		"scrier cp":             filesAndEnvoys,
		"scrier proxy":          first(envoysThat(inUse)),
		"scrier rdp":            first(envoysThat(inUse)),
		"scrier vnc":            first(envoysThat(inUse)),
		"scrier envoys show":    first(envoysThat(exist)),
		"scrier envoys rename":  first(envoysThat(inUse)),
		"scrier envoys release": first(envoysThat(quarantined)),
		"scrier envoys revoke":  first(envoysThat(inUse)),
		"scrier envoys remove":  first(envoysThat(exist)),
		"scrier sessions show":  first(offerSessions),
		"scrier sessions kill":  first(offerSessions),
		"scrier token revoke":   first(offerTokens),
		"scrier audit verify":   fileNames,
	}
	placeholders := map[string]cobra.CompletionFunc{
		"FILE": fileNames, "DIR": fileNames,
		"HOST:PORT": completing(offerRelays), "USER": completing(offerUsers), "SESSION": completing(offerOwnShells),
		"PROGRAM": viewerNames, "ROAD": completing(offerRoads),
	}
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		if f, ok := arguments[c.CommandPath()]; ok {
			c.ValidArgsFunction = f
			delete(arguments, c.CommandPath())
		}
		flag := func(f *pflag.Flag) {
			name, _ := pflag.UnquoteUsage(f)
			how, ok := placeholders[name]
			if f.Name == "username" && c.HasParent() && c.Parent().Name() == "operators" && c.Name() != "create" {
				how, ok = completing(offerOperators), true
			}
			if _, registered := c.GetFlagCompletionFunc(f.Name); ok && !registered {
				must(c.RegisterFlagCompletionFunc(f.Name, how))
			}
		}
		c.LocalNonPersistentFlags().VisitAll(flag)
		c.PersistentFlags().VisitAll(flag)
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(root)
	if len(arguments) > 0 {
		panic(fmt.Sprintf("no such commands: %v", slices.Sorted(maps.Keys(arguments))))
	}
	root.PersistentPreRun = func(c *cobra.Command, line []string) {
		if c.Name() == cobra.ShellCompRequestCmd && len(line) > 1 {
			completeBehindEnvoy(root, line[:len(line)-1])
		}
	}
}

// completeBehindEnvoy lets the library offer flags of `scrier ssh` behind ENVOY too, up to the words of a command. line is
// what stands before the word at the cursor.
func completeBehindEnvoy(root *cobra.Command, line []string) {
	c, args, err := root.Find(line)
	if err != nil || c.CommandPath() != "scrier ssh" {
		return
	}
	f := c.Flags()
	if f.Parse(args) != nil || f.NArg() == 0 || f.ArgsLenAtDash() >= 0 {
		return
	}
	if err := f.Parse(f.Args()[1:]); err == nil && (f.NArg() > 0 || f.ArgsLenAtDash() >= 0) {
		return // a command, or the place for one
	}
	f.SetInterspersed(true)
}

// completing is an offering for the library. What goes wrong is not said: the person is typing.
func completing(find offering) cobra.CompletionFunc {
	return func(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
		ctx, cancel := context.WithTimeout(c.Context(), offerTime)
		defer cancel()
		at := place{args: args, typed: typed}
		if f := c.Flag("state"); f != nil {
			at.state = f.Value.String()
		}
		if f := c.Flag("relay"); f != nil {
			at.relay = f.Value.String()
		}
		if f := c.Flag("transport"); f != nil {
			at.transport = f.Value.String()
		}
		offers, _ := find(ctx, at)
		return words(offers, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// first is completing for a command's first argument; there are no others.
func first(find offering) cobra.CompletionFunc {
	return completing(func(ctx context.Context, at place) ([]offer, error) {
		if len(at.args) > 0 {
			return nil, nil
		}
		return find(ctx, at)
	})
}

// words are the offers that begin with what is typed, once each. Shells put them into the command line, some of them
// without quotes, and read that line again at the next Tab. So what is not one plain word is left out.
func words(offers []offer, typed string) []cobra.Completion {
	var out []cobra.Completion
	seen := map[string]bool{}
	for _, o := range offers {
		if seen[o.word] || !strings.HasPrefix(o.word, typed) || !plainAddress(o.word) {
			continue
		}
		seen[o.word] = true
		out = append(out, cobra.CompletionWithDesc(o.word, described(o.about)))
	}
	return out
}

// described is a remark as shells can show it: letters, digits, blanks and a few signs.
func described(about string) string {
	return strings.Map(func(r rune) rune {
		if plain(string(r)) || strings.ContainsRune(" ()-,", r) {
			return r
		}
		return '?'
	}, about[:min(len(about), 100)])
}

// ask asks the relay of a place for a list.
func ask[T any](ctx context.Context, at place, path string) ([]T, error) {
	r, err := at.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	data, err := r.Do(ctx, "GET", path, nil)
	if err != nil {
		return nil, err
	}
	return decode[[]T](json.RawMessage(data))
}

func inUse(e envoy) bool       { return e.State != "revoked" }
func exist(envoy) bool         { return true }
func quarantined(e envoy) bool { return e.Quarantine != nil }

// envoysThat offers envoys by name, and by id where the name is none for a command line, is not the only one, or begins
// otherwise than what is typed.
func envoysThat(count func(envoy) bool) offering {
	return func(ctx context.Context, at place) ([]offer, error) {
		envoys, err := ask[envoy](ctx, at, "/envoys")
		if err != nil {
			return nil, err
		}
		envoys = slices.DeleteFunc(envoys, func(e envoy) bool { return !count(e) })
		named := map[string]int{}
		for _, e := range envoys {
			named[strings.ToLower(e.Hostname)]++
		}
		var names, ids []offer
		for _, e := range envoys {
			id := offer{e.ID, e.Hostname + ", " + e.State}
			if !plain(e.Hostname) || named[strings.ToLower(e.Hostname)] > 1 {
				names = append(names, id)
			}
			names = append(names, offer{e.Hostname, strings.TrimSuffix(e.State+", "+e.Facts.OS, ", ")})
			ids = append(ids, id)
		}
		if at.typed != "" && len(words(names, at.typed)) == 0 {
			return ids, nil
		}
		return names, nil
	}
}

// offerAtEnvoy offers ENVOY and USER@ENVOY.
func offerAtEnvoy(ctx context.Context, at place) ([]offer, error) {
	user := at.typed[:strings.LastIndexByte(at.typed, '@')+1]
	at.typed = at.typed[len(user):]
	offers, err := envoysThat(inUse)(ctx, at)
	for i := range offers {
		offers[i].word = user + offers[i].word
	}
	return offers, err
}

// filesAndEnvoys offers ENVOY: and USER@ENVOY:, and this machine's files. What is on an envoy is not looked up.
func filesAndEnvoys(c *cobra.Command, args []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	colon, slash := strings.IndexByte(typed, ':'), strings.IndexByte(typed, '/')
	switch {
	case colon > 0 && (slash < 0 || colon < slash):
		return nil, cobra.ShellCompDirectiveNoFileComp
	case slash >= 0:
		return fileNames(c, args, typed)
	}
	envoys, _ := completing(func(ctx context.Context, at place) ([]offer, error) {
		offers, err := offerAtEnvoy(ctx, at)
		return withColon(offers), err
	})(c, args, typed)
	if len(envoys) == 0 {
		return fileNames(c, args, typed)
	}
	// Shells offer either files or what they are given.
	entries, err := os.ReadDir(".")
	if err != nil {
		return envoys, cobra.ShellCompDirectiveNoSpace
	}
	var files []offer
	for _, e := range entries {
		switch {
		case strings.HasPrefix(e.Name(), ".") && !strings.HasPrefix(typed, "."):
		case e.IsDir():
			files = append(files, offer{e.Name() + "/", "folder"})
		default:
			files = append(files, offer{e.Name(), "file"})
		}
	}
	return append(envoys, words(files, typed)...), cobra.ShellCompDirectiveNoSpace | cobra.ShellCompDirectiveNoFileComp
}

// withColon makes ENVOY: of envoys. A name with a colon in it would stand for another one.
func withColon(offers []offer) (out []offer) {
	for _, o := range offers {
		if !strings.ContainsAny(o.word, ":/") {
			out = append(out, offer{o.word + ":", o.about})
		}
	}
	return out
}

// offeredSession is what is told of a session.
type offeredSession struct {
	ID, Operator, Login, Kind, State string
	Own                              bool
	Envoy                            string `json:"envoy_name"`
	EnvoyID                          string `json:"envoy_id"`
}

func (s offeredSession) offer() offer {
	return offer{s.ID, fmt.Sprintf("%s, %s of %s, %s", s.Envoy, s.Kind, s.Operator, s.State)}
}

func offerSessions(ctx context.Context, at place) (offers []offer, err error) {
	sessions, err := ask[offeredSession](ctx, at, "/sessions")
	for _, s := range sessions {
		offers = append(offers, s.offer())
	}
	return offers, err
}

// offerOwnShells offers the sessions that --attach can go on with.
func offerOwnShells(ctx context.Context, at place) (offers []offer, err error) {
	sessions, err := ask[offeredSession](ctx, at, "/sessions")
	for _, s := range sessions {
		if s.Own && s.Kind == string(wire.KindSSH) {
			offers = append(offers, s.offer())
		}
	}
	return offers, err
}

// offerUsers offers the logins of the sessions that there were, on the envoy that is named.
func offerUsers(ctx context.Context, at place) (offers []offer, err error) {
	sessions, err := ask[offeredSession](ctx, at, "/sessions?all=true")
	name := ""
	if len(at.args) > 0 {
		name = at.args[0][strings.LastIndexByte(at.args[0], '@')+1:]
	}
	for _, s := range sessions {
		if s.Kind == string(wire.KindSSH) && (name == "" || strings.EqualFold(s.Envoy, name) || strings.HasPrefix(s.EnvoyID, strings.ToLower(name))) {
			offers = append(offers, offer{s.Login, "on " + s.Envoy})
		}
	}
	return offers, err
}

func offerOperators(ctx context.Context, at place) (offers []offer, err error) {
	users, err := ask[operator](ctx, at, "/users")
	for _, u := range users {
		offers = append(offers, offer{u.Username, u.Role})
	}
	return offers, err
}

func offerTokens(ctx context.Context, at place) (offers []offer, err error) {
	tokens, err := ask[struct {
		ID, Name  string
		CreatedBy string `json:"created_by"`
	}](ctx, at, "/tokens")
	for _, v := range tokens {
		offers = append(offers, offer{v.ID, strings.TrimPrefix(v.Name+", made by "+v.CreatedBy, ", ")})
	}
	return offers, err
}

// offerRelays offers the relays that this machine knows.
func offerRelays(context.Context, place) (offers []offer, err error) {
	home, err := client.FindHome()
	if err != nil {
		return nil, err
	}
	relays, err := home.Relays()
	for _, r := range relays {
		about := "logged out"
		if r.Username != "" {
			about = r.Username + " (" + r.Role + ")"
		}
		if r.Current {
			about += ", current"
		}
		offers = append(offers, offer{r.Relay, about})
	}
	return offers, err
}

// offerLogins offers the relays at which there is a login.
func offerLogins(ctx context.Context, at place) ([]offer, error) {
	offers, err := offerRelays(ctx, at)
	return slices.DeleteFunc(offers, func(o offer) bool { return o.about == "logged out" }), err
}

// fileNames leaves it to the shell.
func fileNames(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return nil, cobra.ShellCompDirectiveDefault
}

// offerRoads offers the transports.
func offerRoads(context.Context, place) ([]offer, error) {
	return []offer{
		{string(wire.Auto), "QUIC, and TCP if that does not answer at once"}, {string(wire.OnlyQUIC), "UDP alone"}, {string(wire.OnlyTCP), "TCP alone"},
	}, nil
}

// viewerNames offers the viewers that are known, and files: any other program will do.
func viewerNames(c *cobra.Command, _ []string, typed string) ([]cobra.Completion, cobra.ShellCompDirective) {
	kind := wire.KindVNC
	if c.Name() == "rdp" {
		kind = wire.KindRDP
	}
	offers := []offer{{"none", "start none"}}
	for _, name := range client.ViewerNames(kind) {
		offers = append(offers, offer{word: name})
	}
	return words(offers, typed), cobra.ShellCompDirectiveDefault
}

// completionScripts mends the library's script for bash, which needs the package bash-completion and takes an @ for the end
// of a word.
func completionScripts(completion *cobra.Command) {
	for _, c := range completion.Commands() {
		if c.Name() != "bash" {
			continue
		}
		c.Long = `Generate the autocompletion script for the bash shell. It needs nothing else.

To load completions in your current shell session:

	source <(scrier completion bash)

To load completions for every new session, put this line into ~/.bashrc.
`
		c.RunE = func(c *cobra.Command, _ []string) error {
			bare, err := c.Flags().GetBool("no-descriptions")
			if err != nil {
				return err
			}
			var b bytes.Buffer
			if err := c.Root().GenBashCompletionV2(&b, !bare); err != nil {
				return err
			}
			script := b.String()
			for _, m := range bashMends {
				script = strings.Replace(script, m.from, m.to, 1)
			}
			_, err = c.OutOrStdout().Write([]byte(script))
			return err
		}
	}
}

// bashMends are what is replaced in the library's script.
var bashMends = []struct{ from, to string }{
	{`    # Call _init_completion from the bash-completion package
    # to prepare the arguments properly
    if declare -F _init_completion >/dev/null 2>&1; then
        _init_completion -n =: || return
    else
        __scrier_init_completion -n =: || return
    fi
`, `    __scrier_init_completion
`},
	{`# Macs have bash3 for which the bash-completion package doesn't include
# _init_completion. This is a minimal version of that function.
`, ``},
	{`    COMPREPLY=()
    _get_comp_words_by_ref "$@" cur prev words cword
`, `    # Words are parted at blanks alone: "@", ":" and "=" are parts of them.
    local line=${COMP_LINE:0:COMP_POINT}
    IFS=$' \t\n' read -r -a words <<<"$line"
    [[ $line == *[[:blank:]] ]] && words+=("")
    cword=$((${#words[@]} - 1))
    cur=${words[cword]}
`},
	{`    __scrier_handle_special_char "$cur" :
`, `    # Of a word with an "@" bash replaces what begins with the last one.
    if [[ $cur == *@* && $COMP_WORDBREAKS == *@* ]]; then
        local before=${cur%@*} i
        for ((i = 0; i < ${#COMPREPLY[*]}; i++)); do
            COMPREPLY[i]=${COMPREPLY[i]#"$before"}
        done
    fi
    __scrier_handle_special_char "$cur" :
`},
}
