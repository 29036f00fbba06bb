package ssh

import "golang.org/x/crypto/ssh"

// signers are the ways in which a key may sign, in the order in which they are tried. There are two for RSA: what a server
// says that it takes (server-sig-algs) is, in older versions of OpenSSH, what it knows and not what it is configured to.
func signers(key ssh.Signer) []ssh.Signer {
	algorithms, ok := key.(ssh.AlgorithmSigner)
	if !ok || key.PublicKey().Type() != ssh.KeyAlgoRSA {
		return []ssh.Signer{key}
	}
	var all []ssh.Signer
	for _, a := range []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256} {
		one, err := ssh.NewSignerWithAlgorithms(algorithms, []string{a})
		if err != nil {
			return []ssh.Signer{key} // it knows only some of them
		}
		all = append(all, one)
	}
	return all
}
