package wire

// Why a link is over TCP, in the words that its dialler says and that lists show.
const (
	WhySet      = "transport is set to tcp"
	WhyProxy    = "a proxy is set"
	WhyNoAnswer = "UDP got no answer"
	WhyLarge    = "large packets got no answer over UDP"
)

// whys are their names.
var whys = map[string]string{WhySet: "set", WhyProxy: "proxy", WhyNoAnswer: "no_answer", WhyLarge: "large_packets", "": "unsaid"}

// OtherWhy is the name of all that an agent may say which this version does not know.
const OtherWhy = "other"

// WhyName is the name of why a link is over TCP, for counting: one of [WhyNames], whatever a peer has said.
func WhyName(why string) string {
	if name, ok := whys[why]; ok {
		return name
	}
	return OtherWhy
}

// WhyNames are all of these names.
func WhyNames() []string {
	return []string{"set", "proxy", "no_answer", "large_packets", "unsaid", OtherWhy}
}

// Why says in a few words why a link that this Dialer has made to addr is not over QUIC. Empty: it is.
func (d Dialer) Why(link Link, addr string) string {
	if link.Peer().Road != TCP {
		return ""
	}
	if d.Transport == OnlyTCP {
		return WhySet
	}
	if through, err := d.Proxy.find(addr); err == nil && through != nil {
		return WhyProxy
	}
	return WhyNoAnswer
}

// May says whether a link to addr may be made over a road: Transport allows it, and for QUIC no proxy is set that would be passed by.
func (d Dialer) May(road Road, addr string) bool {
	through, err := d.Proxy.find(addr)
	return d.Transport.has(road) && (road != QUIC || d.Transport == OnlyQUIC || err == nil && through == nil)
}
