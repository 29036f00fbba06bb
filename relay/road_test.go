package relay

import (
	"context"
	"crypto/tls"
	"strings"
	"testing"

	"scrier/relay/access"
	"scrier/wire"
)

// roadOf dials over the road that a test takes: those that [TestOverTCP] runs go over TCP, all others over QUIC.
func roadOf(t *testing.T) func(context.Context, string, *tls.Config) (wire.Link, error) {
	if strings.HasPrefix(t.Name(), "TestOverTCP/") {
		return dialTCP
	}
	return dialQUIC
}

func dialQUIC(ctx context.Context, addr string, conf *tls.Config) (wire.Link, error) {
	return wire.Dialer{TLS: conf, Transport: wire.OnlyQUIC}.Dial(ctx, addr)
}

func dialTCP(ctx context.Context, addr string, conf *tls.Config) (wire.Link, error) {
	return wire.Dialer{TLS: conf, Transport: wire.OnlyTCP}.Dial(ctx, addr)
}

// What holds over QUIC holds over TCP: enrolment, identities and their renewal, logins, sessions, what ends them,
// and how it is told.
func TestOverTCP(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"tokens are spent once":      TestTokenIsSpentOnce,
		"hostile requests":           TestHostileRequests,
		"one role":                   TestCertificatesServeOneRole,
		"second connection":          TestSecondConnection,
		"revocation":                 TestRevokeEndsTheLink,
		"expired":                    TestExpiredCertificate,
		"renewal":                    TestRenewFirst,
		"renewal that breaks off":    TestRenewalThatBreaksOff,
		"quarantine":                 TestQuarantine,
		"login proofs":               TestLoginProofs,
		"failed logins":              TestFailedLoginsAreSlowed,
		"changed operators":          TestChangedOperatorIsOut,
		"links of one identity":      TestLinksOfOneIdentityAreBounded,
		"who does not read":          TestStuckViewerIsOut,
		"session":                    TestSession,
		"metrics":                    TestMetrics,
		"slow viewer":                TestSlowViewerStopsTheShell,
		"sessions ended":             TestSessionsAreEndedFromOutside,
		"shutdown":                   TestShutdownTellsTheSessions,
		"limit":                      TestLimitUnderPressure,
		"silent envoy":               TestSilentEnvoy,
		"agent lost":                 TestAgentLostWhileOpening,
		"session outlives viewer":    TestSessionOutlivesItsViewer,
		"input arrives once":         TestInputArrivesOnce,
		"commands at the same time":  TestCommandsAtTheSameTime,
		"channels":                   TestForeignChannels,
		"native":                     TestNativeViewer,
		"evil agents":                TestEvilAgents,
		"answers to who is changed":  TestWhoChangesThemselvesGetsTheAnswer,
		"guessed tokens":             TestGuessedTokensAreSlowed,
		"forged reasons":             TestAgentsCannotForgeReasons,
		"a panic ends one request":   TestAPanicEndsOneRequest,
		"restart":                    TestRestartClosesEachSessionOnce,
		"session's end of transfers": TestSessionEndsItsTransfers,
	} {
		t.Run(strings.ReplaceAll(name, " ", "_"), test)
	}
}

// A relay that ends says so on every link, whatever road it took: agents then spread their return.
func TestShutdownTellsTheLinks(t *testing.T) {
	for road, dial := range map[wire.Road]func(context.Context, string, *tls.Config) (wire.Link, error){wire.QUIC: dialQUIC, wire.TCP: dialTCP} {
		t.Run(string(road), func(t *testing.T) {
			r := loaded(t)
			ctx, stop := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- r.Run(ctx) }()
			defer func() {
				stop()
				if err := <-done; err != nil {
					t.Errorf("the relay ended with %v", err)
				}
			}()
			m := enrolled(t, r, "web1")
			p := newPerson(t, r, "ann", access.Viewer)
			login, err := p.login(attempt{})
			if err != nil {
				t.Fatal(err)
			}
			strangers := r.strangers.taken()
			var links []wire.Link
			for _, c := range []struct {
				alpn string
				cert *tls.Certificate
			}{{wire.ALPNAgent, m.cert}, {wire.ALPNClient, login}, {wire.ALPNClient, nil}} {
				link, err := dial(t.Context(), r.Addr(), r.trusting(c.alpn, c.cert).TLS())
				if err != nil {
					t.Fatal(err)
				}
				defer link.Close(wire.None, "")
				links = append(links, link)
			}
			waitFor(t, "the links to be served", func() bool {
				return r.envoyLinks.taken() == 1 && r.operatorLinks.taken() == 1 && r.strangers.taken() > strangers
			})
			stop()
			for i, link := range links {
				if code := ended(t, link); code != wire.RelayShutdown {
					t.Errorf("link %d ended with %s", i, code)
				}
			}
		})
	}
}
