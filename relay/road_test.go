package relay

import (
	"context"
	"crypto/tls"
	"net"
	"strings"
	"testing"

	"scrier/wire"
)

// overTCP says which road a test takes: those that [TestOverTCP] runs go over TCP, all others over QUIC.
func overTCP(t *testing.T) bool { return strings.HasPrefix(t.Name(), "TestOverTCP/") }

func dialQUIC(ctx context.Context, addr string, conf *tls.Config) (wire.Link, error) {
	return wire.Dialer{TLS: conf}.Dial(ctx, addr)
}

func dialTCP(ctx context.Context, addr string, conf *tls.Config) (wire.Link, error) {
	return dialTCPFrom(ctx, net.Dialer{}, addr, conf)
}

// dialTCPFrom is dialTCP by a dialer of its own, which may have an address.
func dialTCPFrom(ctx context.Context, d net.Dialer, addr string, conf *tls.Config) (wire.Link, error) {
	conn, err := (&tls.Dialer{NetDialer: &d, Config: conf}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return wire.TCPLink(conn.(*tls.Conn), wire.TCPConfig{MaxStreams: 1 << 10, Known: true}), nil
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
