package ssh

import (
	"strings"

	"golang.org/x/crypto/ssh"
)

// algorithms are those of the reported keys, so that a server with several shows one of them.
func algorithms(blobs [][]byte) (out []string) {
	for _, b := range blobs {
		k, err := ssh.ParsePublicKey(b)
		if err != nil {
			continue
		}
		if k.Type() == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256)
			continue
		}
		out = append(out, k.Type())
	}
	return out
}

func fingerprints(blobs [][]byte) string {
	var out []string
	for _, b := range blobs {
		if k, err := ssh.ParsePublicKey(b); err == nil {
			out = append(out, k.Type()+" "+ssh.FingerprintSHA256(k))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}
