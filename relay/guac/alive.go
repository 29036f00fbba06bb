package guac

// aliveStream is the stream of [Connection.Alive]: the last one that every guacd has for a user.
const aliveStream = "63"

// Alive asks guacd for a word, on the connection that made the desktop: guacd says nop only every five to
// ten seconds, and this it answers at once, whatever the desktop does ([IsAlive]). It is a parameter that
// guacd did not ask for, which it refuses. nil: this guacd does not answer. None knows the instruction before
// 1.1, and most keep the answer to themselves where the desktop may only be looked at.
func (c *Connection) Alive(p Policy) []byte {
	if !c.version.atLeast(1, 3) || p.View {
		return nil
	}
	return Append(nil, "argv", aliveStream, "text/plain", "scrier-alive")
}

// IsAlive says whether i is the answer.
func IsAlive(i *Instruction) bool { return i.Is("ack") && string(i.Arg(0)) == aliveStream }

// TellsLogOff says whether an RDP server's end that is not in order is told by an error, and one that is by
// none. From 1.6.1 on guacd has the same error for both.
func (c *Connection) TellsLogOff() bool { return !c.version.atLeast(1, 5) }
