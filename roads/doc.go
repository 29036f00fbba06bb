// Package roads remembers which road to a relay worked last from the network that this machine is in, so that the next link
// begins with it. It knows nothing of links: who dials says what won.
//
// It also remembers how long a link may rest there, see [Rest]. Of roads only what is not the usual is kept, which is TCP, where
// UDP got no answer. A note is believed for ten minutes: after that QUIC is tried first again, which costs a third of a second where
// it still gets no answer.
package roads
