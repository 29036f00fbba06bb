package agent

import (
	"time"

	"scrier/roads"
	"scrier/wire"
)

const (
	// firstRest is how long an idle agent says nothing where nothing is known of the network: what every NAT should remember (RFC 4787,
	// 4.3, wants two minutes; routers of a household have 30 s).
	firstRest = 15 * time.Second

	// restSlack is how much later than its rest the relay's question may come: the relay looks once a second, and a packet that is lost
	// is sent again.
	restSlack = 5 * time.Second

	// restShort is how much shorter than the rest a silence may be found to be that has been one: the clocks begin at different
	// moments.
	restShort = 3 * time.Second
)

// rhythm is how long an idle agent rests, which is learnt: the relay asks when the rest is over, and if that comes, nothing on the way has
// forgotten the link meanwhile, and the next rest may be longer.
//
//	15 s --it came--> a third longer --…--> 60 s
//	any  --it came only when the agent itself had sent something--> half of that, and never more than half from then on
type rhythm struct {
	rest time.Duration
	know roads.Rest
}

func newRhythm(know roads.Rest) rhythm {
	r := rhythm{rest: max(know.Held, wire.MinRest), know: know}
	if know.Held == 0 {
		r.rest = firstRest
	}
	r.rest = min(r.rest, r.most())
	return r
}

// most is the longest rest that may be tried.
func (r *rhythm) most() time.Duration {
	if r.know.Failed == 0 {
		return wire.MaxRest
	}
	return max(wire.MinRest, min(wire.MaxRest, r.know.Failed/2).Truncate(time.Second))
}

// held takes a question of the relay's that has come behind a silence. It says whether something was learnt.
func (r *rhythm) held(silence time.Duration) (news bool) {
	if silence < r.rest-restShort {
		return false
	}
	news = r.know.Held != r.rest
	r.know.Held = r.rest
	r.rest = min((r.rest + max(r.rest/3, wire.MinRest)).Truncate(time.Second), r.most())
	return news
}

// lost takes a question that did not come in a rest, although the way is good. It says whether something was learnt.
func (r *rhythm) lost() (news bool) {
	before := r.know
	if r.know.Failed == 0 || r.rest < r.know.Failed {
		r.know.Failed = r.rest
	}
	r.rest = r.most()
	r.know.Held = min(r.know.Held, r.rest)
	return r.know != before
}

// seconds is the rest as the relay is told.
func (r *rhythm) seconds() uint32 { return uint32(r.rest / time.Second) }
