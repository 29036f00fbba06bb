package access

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"github.com/go-webauthn/webauthn/protocol"
	"github.com/go-webauthn/webauthn/webauthn"

	"scrier/relay/store"
	"scrier/wire"
)

// passkeyUser is an operator with the passkeys for a site, as WebAuthn's library sees one.
func (a *Access) passkeyUser(ctx context.Context, who Operator, site Site) (*passkeyOwner, error) {
	user := &passkeyOwner{id: who.ID, name: who.Username}
	err := a.KV.View(ctx, func(tx store.Tx) error {
		if _, err := self(tx, who); err != nil {
			return err
		}
		rows, err := store.Passkeys(tx, who.ID)
		for _, p := range rows {
			if p.RPID == site.Name {
				user.credentials = append(user.credentials, credentialOf(p))
			}
		}
		return err
	})
	return user, err
}

// passkeyOwner is a webauthn.User. Its handle is the operator's id, which tells nobody anything.
type passkeyOwner struct {
	id, name    string
	credentials []webauthn.Credential
}

func (u *passkeyOwner) WebAuthnID() []byte                         { return []byte(u.id) }
func (u *passkeyOwner) WebAuthnName() string                       { return u.name }
func (u *passkeyOwner) WebAuthnDisplayName() string                { return u.name }
func (u *passkeyOwner) WebAuthnCredentials() []webauthn.Credential { return u.credentials }

// party is the relay at a site. There is no state in it: one is made for each half of a ceremony.
func party(site Site) (*webauthn.WebAuthn, error) {
	resident := true
	limit := webauthn.TimeoutConfig{Timeout: flowLife, TimeoutUVD: flowLife}
	return webauthn.New(&webauthn.Config{
		RPID: site.Name, RPDisplayName: "Scrier " + site.Name, RPOrigins: []string{site.Origin},
		AttestationPreference: protocol.PreferNoAttestation,
		AuthenticatorSelection: protocol.AuthenticatorSelection{
			ResidentKey: protocol.ResidentKeyRequirementRequired, RequireResidentKey: &resident,
			UserVerification: protocol.VerificationRequired,
		},
		Timeouts: webauthn.TimeoutsConfig{Login: limit, Registration: limit},
		// Password managers answer extensions that nobody asked for; nothing is done with them.
		ExtensionsUnsolicitedOutputPolicy: protocol.UnsolicitedOutputPolicyIgnore,
	})
}

// exactOrigin is stricter than the library, which takes other cases for the same.
func exactOrigin(c protocol.CollectedClientData, site Site) error {
	if c.Origin != site.Origin || c.CrossOrigin || c.TopOrigin != "" {
		return wire.Errorf(wire.Unauthenticated, "the passkey was used on another page, %s", wire.Printable(short(c.Origin)))
	}
	return nil
}

// unacceptable is the library's error for people.
func unacceptable(err error, code wire.Code) error {
	if e, ok := errors.AsType[*wire.Error](err); ok {
		return e
	}
	detail := "the browser's answer is not a valid passkey"
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.Details != "" {
		detail += ": " + wire.Printable(short(strings.ToLower(e.Details[:1])+e.Details[1:]))
	}
	return &wire.Error{Code: code, Detail: detail, Err: err}
}

func credentialOf(p store.Passkey) webauthn.Credential {
	c := webauthn.Credential{
		ID: bytes.Clone(p.Credential), PublicKey: bytes.Clone(p.PublicKey),
		Flags:         webauthn.CredentialFlags{UserPresent: true, UserVerified: true, BackupEligible: p.BackupEligible, BackupState: p.BackupState},
		Authenticator: webauthn.Authenticator{AAGUID: p.AAGUID, SignCount: p.SignCount},
	}
	for _, t := range p.Transports {
		c.Transport = append(c.Transport, protocol.AuthenticatorTransport(t))
	}
	return c
}
