package relay

import (
	"path/filepath"

	"scrier/certs"
	"scrier/certs/acme"
)

// certificate is the one of server.yaml's block "tls"; nil without one.
func (s *Settings) certificate() (certs.Public, error) {
	switch t := s.Config.TLS; {
	case t.Cert != "":
		return certs.LoadFiles(certs.FilesConfig{Cert: t.Cert, Key: t.Key, Now: s.Now, Log: s.Log})
	case t.ACME != "":
		return acme.New(acme.Config{
			Domain: t.ACME, Email: t.ACMEEmail, Directory: t.ACMEDirectory,
			Cache: filepath.Join(s.StateDir, "acme"), Now: s.Now, Log: s.Log,
		})
	}
	return nil, nil
}
