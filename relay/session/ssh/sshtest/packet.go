package sshtest

import (
	"bufio"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"net"

	"golang.org/x/crypto/ssh"
)

// Message numbers of RFC 4250, 4.1.
const (
	msgDisconnect   = 1
	msgIgnore       = 2
	msgUnimplement  = 3
	msgService      = 5
	msgServiceOK    = 6
	msgKexInit      = 20
	msgNewKeys      = 21
	msgECDHInit     = 30
	msgECDHReply    = 31
	msgAuth         = 50
	msgAuthFailure  = 51
	msgAuthSuccess  = 52
	msgBanner       = 53
	msgKeyOK        = 60
	msgInfoRequest  = 60
	msgGlobal       = 80
	msgOpen         = 90
	msgOpened       = 91
	msgOpenFailure  = 92
	msgWindow       = 93
	msgData         = 94
	msgExtendedData = 95
	msgEOF          = 96
	msgClose        = 97
	msgRequest      = 98
	msgSuccess      = 99
	msgFailure      = 100
)

const maxPacket = 256 << 10 // what is read of a client

// Server is the server's end of one connection. One goroutine may read from it while another writes.
type Server struct {
	conn    net.Conn
	in      *bufio.Reader
	hostKey ssh.Signer
	session []byte // its id, after the first key exchange
	name    string // the client's version line

	opener, sealer *gcm // nil before the first keys
}

// New makes a server of a connection.
func New(conn net.Conn, hostKey ssh.Signer) *Server {
	return &Server{conn: conn, in: bufio.NewReader(conn), hostKey: hostKey}
}

// message is a packet: the number of the message, and its fields as SSH writes them.
func message(number byte, fields any) []byte {
	return append([]byte{number}, ssh.Marshal(fields)...)
}

// gcm is aes128-gcm@openssh.com (RFC 5647), one direction.
type gcm struct {
	cipher.AEAD
	nonce [12]byte
}

func newGCM(key, iv []byte) (*gcm, error) {
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	aead, err := cipher.NewGCM(block)
	return &gcm{aead, [12]byte(iv)}, err
}

// next counts the packets.
func (g *gcm) next() {
	binary.BigEndian.PutUint64(g.nonce[4:], binary.BigEndian.Uint64(g.nonce[4:])+1)
}

// receive reads one packet.
func (s *Server) receive() ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(s.in, head[:]); err != nil {
		return nil, err
	}
	n := int(binary.BigEndian.Uint32(head[:]))
	if n < 1 || n > maxPacket {
		return nil, errors.New("a packet of a strange size")
	}
	body := make([]byte, n)
	if s.opener != nil {
		body = make([]byte, n+s.opener.Overhead())
	}
	if _, err := io.ReadFull(s.in, body); err != nil {
		return nil, err
	}
	if s.opener != nil {
		plain, err := s.opener.Open(nil, s.opener.nonce[:], body, head[:])
		if err != nil {
			return nil, err
		}
		s.opener.next()
		body = plain
	}
	if pad := int(body[0]); pad+1 < len(body) {
		return body[1 : len(body)-pad], nil
	}
	return nil, errors.New("a packet without content")
}

// send sends one packet.
func (s *Server) send(payload []byte) error {
	_, err := s.conn.Write(s.seal(payload))
	return err
}

// seal makes the bytes of a packet.
func (s *Server) seal(payload []byte) []byte {
	covered := 5 + len(payload) // what the padding makes a multiple of 16
	if s.sealer != nil {
		covered -= 4
	}
	pad := 16 - covered%16
	if pad < 4 {
		pad += 16
	}
	body := append([]byte{byte(pad)}, payload...)
	body = append(body, make([]byte, pad)...)
	head := binary.BigEndian.AppendUint32(nil, uint32(len(body)))
	if s.sealer == nil {
		return append(head, body...)
	}
	out := s.sealer.Seal(head, s.sealer.nonce[:], body, head)
	s.sealer.next()
	return out
}
