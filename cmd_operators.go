//go:build !agentonly

package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/ssh"

	"scrier/client"
	"scrier/relay/access"
	"scrier/wire"
)

func operatorsCommand() *cobra.Command {
	var t target
	c := group(&cobra.Command{
		Use: "operators", Short: "Manage operators",
		Aliases: []string{"webusers"}, // as it was called
		Long: `Operators are the people who use the relay. Each has a role and SSH public keys; a key belongs to
one operator at most. Admins may do everything; the role operator opens sessions and administers nothing;
viewers see envoys and sessions; compliance sees sessions and the audit log.`,
	})
	t.flags(c)
	c.AddCommand(operatorsCreate(&t), operatorsList(&t), operatorsUpdate(&t), operatorsDelete(&t), operatorsLink(&t))
	return c
}

func operatorsCreate(t *target) *cobra.Command {
	var username, role, keyFile string
	var asJSON bool
	c := &cobra.Command{
		Use:   "create --username U --role admin|operator|viewer|compliance [--ssh-key-file F] [--json] [--state DIR]",
		Short: "Make an operator",
		Long: `Make an operator. --ssh-key-file is the operator's public key. If U is also a user of this host, an
admin's key is the one in that user's home: ~U/.ssh/id_ed25519.pub, else ~U/.ssh/id_rsa.pub, whoever runs
this command; then --ssh-key-file is refused. A link is printed that signs the operator's browser in; it
works once, within 15 minutes, and not after the operator was changed.
` + exitHelp("0    made", wire.BadRequest, wire.ProofRequired, wire.NoSSHPubkey, wire.KeyUnusable, wire.Conflict, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier operators create --username ann --role admin --state /var/lib/scrier-relay
  scrier operators create --username zoe --role admin --ssh-key-file zoe.pub
  scrier operators create --username bob --role viewer --ssh-key-file bob.pub`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			key, err := operatorKey(c.Context(), username, role, keyFile)
			if err != nil {
				return err
			}
			data, err := t.do(c, "POST", "/users", map[string]any{"username": username, "role": role, "keys": []string{key}})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			v, err := decode[struct {
				Username    string
				Role        string
				Fingerprint string `json:"relay_fingerprint"`
				Relay       string `json:"relay_address"`
				Link        *signInLink
			}](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "%s is %s of the relay with the fingerprint %s\nHand over this line:\n  scrier login %s --username %s --fingerprint %s\n",
				wire.Printable(v.Username), article(v.Role), wire.Printable(v.Fingerprint), t.address(v.Relay), pasted(v.Username, "NAME"), pasted(v.Fingerprint, "FINGERPRINT"))
			if v.Link != nil {
				fmt.Fprintf(c.OutOrStdout(), "Or, for a browser, this link; it works once, within 15 minutes:\n  %s\n", v.Link.of(t))
			}
			return nil
		},
	}
	c.Flags().StringVar(&username, "username", "", "the operator's `NAME`")
	c.Flags().StringVar(&role, "role", "", "the `ROLE`: admin, operator, viewer or compliance")
	c.Flags().StringVar(&keyFile, "ssh-key-file", "", "the operator's public key `FILE`; not for an admin who is a user of this host")
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	must(c.MarkFlagRequired("username"))
	must(c.MarkFlagRequired("role"))
	completeRole(c)
	return c
}

// completeRole completes --role.
func completeRole(c *cobra.Command) {
	var roles []cobra.Completion
	for _, r := range access.Roles() {
		roles = append(roles, string(r))
	}
	must(c.RegisterFlagCompletionFunc("role", cobra.FixedCompletions(roles, cobra.ShellCompDirectiveNoFileComp)))
}

func article(role string) string {
	switch role {
	case "admin", "operator":
		return "an " + role
	}
	return "a " + wire.Printable(role) + " operator"
}

// operatorKey reads the public key for a new operator, by the rules of its role. An admin who has an account on this
// host has the key that is there: who may become root here must not have to name a file by hand, and nobody makes an
// admin of that name with another key by mistake.
func operatorKey(ctx context.Context, username, role, file string) (string, error) {
	if role != "admin" {
		if file == "" {
			return "", wire.Errorf(wire.Usage, "--ssh-key-file is required for the role %q", role)
		}
		return publicKey(file)
	}
	user, err := findOSUser(ctx, username)
	if err != nil {
		return "", wire.Errorf(wire.NoSSHPubkey, "whether this host has a user %s cannot be found out: %w", username, err)
	}
	switch {
	case user != nil && file != "":
		return "", wire.Errorf(wire.Usage, "--ssh-key-file is not for %s, who is a user of this host: leave it out, and the key is the one in %s", username, filepath.Join(user.home, ".ssh"))
	case user != nil:
		return user.key()
	case file == "":
		return "", wire.Errorf(wire.NoSSHPubkey, "this host has no user %s whose key could be taken", username).
			Advise("name the admin's public key with --ssh-key-file")
	}
	return publicKey(file)
}

// publicKey reads a .pub file, or the public half beside a private key.
func publicKey(file string) (string, error) {
	key, err := client.ReadPublicKeyFile(file)
	if e, ok := errors.AsType[*wire.Error](err); ok && e.Advice == "" {
		return "", e.Advise("name the operator's public key file, such as id_ed25519.pub")
	}
	if err != nil {
		return "", err
	}
	return strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))), nil
}

type operator struct {
	ID, Username, Role string
	Keys, Unproved     []string
	Passkeys           int
	Created, Changed   time.Time
}

// operatorColumns are what a list of operators can show.
var operatorColumns = []column[operator]{
	{name: "username", cell: func(u operator) string { return u.Username }},
	{name: "role", cell: func(u operator) string { return u.Role }},
	{name: "keys", cell: func(u operator) string { return fingerprints(u.Keys, u.Unproved) }, compare: byNumber(func(u operator) int { return len(u.Keys) })},
	{name: "passkeys", cell: func(u operator) string { return strconv.Itoa(u.Passkeys) }, compare: byNumber(func(u operator) int { return u.Passkeys }), more: true},
	{name: "id", cell: func(u operator) string { return u.ID }, more: true},
	{name: "created", cell: func(u operator) string { return client.Stamp(u.Created) }, compare: byTime(func(u operator) time.Time { return u.Created }), more: true},
	{name: "changed", cell: func(u operator) string { return client.Stamp(u.Changed) }, compare: byTime(func(u operator) time.Time { return u.Changed }), more: true},
}

func operatorsList(t *target) *cobra.Command {
	l := listing[operator]{columns: operatorColumns}
	c := &cobra.Command{
		Use:     "list [--sort COLUMN[-]] [--columns A,B,C] [--json] [--state DIR]",
		Short:   "List the operators",
		Long:    "List the operators.\n" + exitHelp("0    listed", wire.Forbidden, wire.Unauthenticated, wire.Expired, wire.RelayUnreachable),
		Example: `  scrier operators list --columns username,role,passkeys,changed --sort changed-`,
		Args:    exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := l.prepare(); err != nil {
				return err
			}
			data, err := t.do(c, "GET", "/users", nil)
			if err != nil {
				return err
			}
			return l.print(c, data, nil)
		},
	}
	l.flags(c)
	return c
}

// fingerprints are those of keys; one that nobody has proved to be theirs is marked.
func fingerprints(keys, unproved []string) string {
	var out []string
	for _, k := range keys {
		if pub, _, _, _, err := ssh.ParseAuthorizedKey([]byte(k)); err == nil {
			f := ssh.FingerprintSHA256(pub)
			if slices.Contains(unproved, k) {
				f += " (not proved)"
			}
			out = append(out, f)
		}
	}
	return strings.Join(out, " ")
}

func operatorsUpdate(t *target) *cobra.Command {
	var username, role string
	var keyFiles []string
	var revoke, asJSON bool
	var sure consent
	c := &cobra.Command{
		Use:   "update --username U [--role admin|operator|viewer|compliance] [--ssh-key-file F]… [--revoke-all [--yes]] [--json] [--state DIR]",
		Short: "Change an operator's role or keys, or end all that they have open",
		Long: `Change an operator's role, or replace their SSH keys by those given. Logins and sessions from before
end at once; the operator logs in again. With --state a key counts at once; else when its owner logs in
with it, or adds it on the page My account.

--revoke-all is for an operator whose laptop was stolen: it ends their logins, sign-ins and sessions, and
removes their links, passkeys and tokens. Their SSH keys stay: replace those that were stolen too. It says what ends,
and asks.

Who changes themselves has to log in again, too. The last admin who can log in stays one, but for --state.
` + exitHelp("0    changed", wire.BadRequest, wire.ProofRequired, wire.NotFound, wire.NoSSHPubkey, wire.KeyUnusable, wire.Conflict, wire.LastAdmin, wire.AuditUnavailable, wire.Forbidden, wire.Cancelled, wire.RelayUnreachable),
		Example: `  scrier operators update --username bob --role admin
  scrier operators update --username bob --revoke-all`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			in := map[string]any{}
			if role != "" {
				in["role"] = role
			}
			if len(keyFiles) > 0 {
				var keys []string
				for _, f := range keyFiles {
					k, err := publicKey(f)
					if err != nil {
						return err
					}
					keys = append(keys, k)
				}
				in["keys"] = keys
			}
			if username == "" {
				return named("username", username)
			}
			if len(in) == 0 && !revoke {
				return wire.Errorf(wire.Usage, "nothing to change: give --role, --ssh-key-file or --revoke-all")
			}
			if revoke {
				if err := sure.possible(c); err != nil {
					return err
				}
			}
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			defer r.Close()
			id := username
			if revoke && !sure.yes {
				if id, err = confirmOperator(c, r, sure, username, "End all that %s has open?", "nothing was changed"); err != nil {
					return err
				}
			}
			method, path, body := "PUT", "/users/"+client.Escape(id), any(in)
			switch {
			case revoke && len(in) == 0:
				method, path, body = "POST", path+"/revoke", nil
			case revoke:
				in["revoke_all"] = true // in one request: who changes themselves has no login for a second one
			}
			data, err := r.Do(c.Context(), method, path, body)
			if err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			u, err := decode[operator](data)
			if err != nil {
				return err
			}
			if isSelf(r, u.Username) {
				fmt.Fprintf(c.OutOrStdout(), "%s was changed. That is you: your logins, sign-ins and sessions have ended with it, this login too.\nLog in again: scrier login %s\n",
					wire.Printable(u.Username), r.Login.Relay)
				return nil
			}
			fmt.Fprintf(c.OutOrStdout(), "%s was changed and has to log in again\n", wire.Printable(u.Username))
			return nil
		},
	}
	c.Flags().StringVar(&username, "username", "", "the operator's `NAME`")
	c.Flags().StringVar(&role, "role", "", "the new `ROLE`: admin, operator, viewer or compliance")
	completeRole(c)
	c.Flags().StringArrayVar(&keyFiles, "ssh-key-file", nil, "a public key `FILE`; may be repeated")
	c.Flags().BoolVar(&revoke, "revoke-all", false, "end logins, sign-ins and sessions, remove links, passkeys and tokens")
	sure.flag(c)
	c.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	must(c.MarkFlagRequired("username"))
	return c
}

// isSelf says whether an operator is whose login this is.
func isSelf(r *client.Relay, username string) bool {
	return r.Login.Relay != "" && r.Login.Username == username
}

// confirmOperator says what ends with an operator, and asks. The id is that of the operator who was shown.
func confirmOperator(c *cobra.Command, r *client.Relay, sure consent, username, question, kept string) (id string, err error) {
	data, err := r.Do(c.Context(), "GET", "/users", nil)
	if err != nil {
		return "", interrupted(c.Context(), err)
	}
	users, err := decode[[]operator](data)
	if err != nil {
		return "", err
	}
	i := slices.IndexFunc(users, func(u operator) bool { return u.Username == username })
	if i < 0 {
		i = slices.IndexFunc(users, func(u operator) bool { return u.ID == username })
	}
	if i < 0 {
		return "", wire.Errorf(wire.NotFound, "there is no operator %q", username).Advise("see `scrier operators list`")
	}
	u := users[i]
	sessions, err := ending(c, r, "of theirs", func(s sessionRow) bool { return s.Operator == u.Username })
	if err != nil {
		return "", err
	}
	if data, err = r.Do(c.Context(), "GET", "/tokens", nil); err != nil {
		return "", interrupted(c.Context(), err)
	}
	tokens, err := decode[[]tokenRow](data)
	if err != nil {
		return "", err
	}
	tokens = slices.DeleteFunc(tokens, func(t tokenRow) bool { return t.CreatedBy != u.Username })
	lines := []string{
		u.Username + " (" + u.ID + ") has the role " + u.Role + ", " + count(len(u.Keys), "SSH key") + " and " + count(u.Passkeys, "passkey") + ".",
		"Their logins and sign-ins end, and links, passkeys and " + count(len(tokens), "enrolment token") + " of theirs go.",
		sessions,
	}
	if isSelf(r, u.Username) {
		lines = append(lines, "That is you: this login ends, too.")
	}
	return u.ID, sure.ask(c, lines, fmt.Sprintf(question, u.Username), kept)
}

func operatorsDelete(t *target) *cobra.Command {
	var username string
	var sure consent
	var asJSON bool
	c := &cobra.Command{
		Use:   "delete --username U [--yes] [--json] [--state DIR]",
		Short: "Delete an operator",
		Long: `Delete an operator. Their logins and sessions end at once. It says what ends, and asks.

The last admin who can log in is not deleted, but with --state.
` + exitHelp("0    deleted", wire.ProofRequired, wire.NotFound, wire.LastAdmin, wire.Forbidden, wire.Cancelled, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier operators delete --username bob
  scrier operators delete --username bob --yes --state /var/lib/scrier-relay`,
		Args: exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := named("username", username); err != nil {
				return err
			}
			if err := sure.possible(c); err != nil {
				return err
			}
			r, err := t.dial(c.Context())
			if err != nil {
				return err
			}
			defer r.Close()
			id := username
			if !sure.yes {
				if id, err = confirmOperator(c, r, sure, username, "Delete %s?", username+" stays"); err != nil {
					return err
				}
			}
			if _, err := r.Do(c.Context(), "DELETE", "/users/"+client.Escape(id), nil); err != nil {
				return interrupted(c.Context(), err)
			}
			if asJSON {
				return printValue(c.OutOrStdout(), map[string]string{"username": username})
			}
			fmt.Fprintf(c.OutOrStdout(), "%s was deleted\n", wire.Printable(username))
			if isSelf(r, username) {
				fmt.Fprintln(c.OutOrStdout(), "That was you: your logins, sign-ins and sessions have ended with it, this login too.")
			}
			return nil
		},
	}
	c.Flags().StringVar(&username, "username", "", "the operator's `NAME`")
	c.Flags().BoolVar(&asJSON, "json", false, `print {"username"}`)
	sure.flag(c)
	must(c.MarkFlagRequired("username"))
	return c
}

func operatorsLink(t *target) *cobra.Command {
	var username string
	var asJSON bool
	c := &cobra.Command{
		Use:   "link --username U [--json] [--state DIR]",
		Short: "Make a link that signs an operator's browser in",
		Long: `Make a link that signs a browser in as an operator. It works once, within 15 minutes, and not after
the operator was changed. Whoever opens it first is the operator: hand it over on a way that nobody
else reads. Operators make their own with scrier login --browser.
` + exitHelp("0    made", wire.ProofRequired, wire.NotFound, wire.Forbidden, wire.RelayUnreachable, wire.AuditUnavailable),
		Example: `  scrier operators link --username bob`,
		Args:    exact(0, "no arguments"),
		RunE: func(c *cobra.Command, _ []string) error {
			if err := named("username", username); err != nil {
				return err
			}
			data, err := t.do(c, "POST", "/users/"+client.Escape(username)+"/links", struct{}{})
			if err != nil {
				return err
			}
			if asJSON {
				return printJSON(c.OutOrStdout(), data)
			}
			link, err := decode[signInLink](data)
			if err != nil {
				return err
			}
			fmt.Fprintf(c.OutOrStdout(), "This link signs a browser in as %s; it works once, within 15 minutes:\n  %s\n", wire.Printable(username), link.of(t))
			return nil
		},
	}
	c.Flags().StringVar(&username, "username", "", "the operator's `NAME`")
	c.Flags().BoolVar(&asJSON, "json", false, `print {"url", "path", "expires"}; the url is missing where the relay does not know its name`)
	must(c.MarkFlagRequired("username"))
	return c
}
