package metrics

import (
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"scrier/relay/tally"
	"scrier/wire"
)

// Other is what stands in place of a label's value that is not one of those which it may have.
const Other = "other"

// family is one metric, with all that its labels may say. Nothing that a peer chooses makes a new value of a label: who reaches
// /metrics must not learn names, and Prometheus must not be filled with them.
type family struct {
	name, help string
	labels     []label
	// One of the three says what it is, and reads it.
	gauge, counter func(f *Figures, give give)
	histogram      func(f *Figures, give giveSpread)
}

// label is what a metric is divided by.
type label struct {
	name   string
	values []string
	free   bool // what it says is the program's own, and of no peer's choice
}

type (
	give       func(v float64, values ...string)
	giveSpread func(s tally.Spread, values ...string)
)

// kind is the word for what it is in Prometheus.
func (f *family) kind() string {
	switch {
	case f.gauge != nil:
		return "gauge"
	case f.counter != nil:
		return "counter"
	}
	return "histogram"
}

func (f *family) desc() *prometheus.Desc {
	names := make([]string, len(f.labels))
	for i, l := range f.labels {
		names[i] = l.name
	}
	return prometheus.NewDesc(f.name, f.help, names, nil)
}

// known has each value be one that the label may have. Of several that are not, one sample is made: [samples].
func (f *family) known(values []string) []string {
	out := slices.Clone(values)
	for i, l := range f.labels {
		if !l.free && !slices.Contains(l.values, out[i]) {
			out[i] = Other
		}
	}
	return out
}

var (
	states     = label{name: "state", values: []string{"online", "stale", "offline", "revoked", "quarantined"}}
	peers      = label{name: "peer", values: []string{"agent", "operator", "page"}}
	roads      = label{name: "road", values: []string{"quic", "tcp", "webtransport", "websocket"}}
	kinds      = label{name: "kind", values: []string{"ssh", "rdp", "vnc"}}
	phases     = label{name: "state", values: []string{"waiting", "active"}}
	parts      = label{name: "part", values: []string{"owner", "watcher"}}
	directions = label{name: "direction", values: []string{"to_envoy", "from_envoy"}}
	whys       = label{name: "why", values: wire.WhyNames()}
	reasons    = label{name: "reason", values: []string{"too_fast", "too_many", "too_many_of_network", "gave_way"}}
	places     = label{name: "of", values: []string{"strangers", "operator_links", "agent_links", "new_lanes", "pages_tcp", "pages_quic", "pages_signed_in", "page_requests"}}
	limits     = label{name: "what", values: []string{"page_requests", "bytes", "logins", "changes", "sign_in_links", "channels", "passkeys"}}
	ends       = label{name: "certificate", values: []string{"ca", "relay", "browser", "public"}}
	codes      = label{name: "code", values: codeNames()}
)

func codeNames() (names []string) {
	for _, c := range wire.Codes() {
		names = append(names, c.String())
	}
	return append(names, tally.Unknown)
}

func flag(is bool) float64 {
	if is {
		return 1
	}
	return 0
}

// families are all that a relay says of itself, beside what Go and the kernel know of its process.
func families() []family {
	return []family{
		{
			name: "scrier_build_info", help: "Always 1. The labels say what runs.",
			labels: []label{{name: "version", free: true}, {name: "commit", free: true}, {name: "go_version", free: true}},
			gauge:  func(f *Figures, give give) { give(1, f.Version, f.Commit, f.Go) },
		},
		{
			name: "scrier_envoys", help: "Envoys by their state, as lists show it. Stale ones are connected and silent for longer than they should be.",
			labels: []label{states},
			gauge: func(f *Figures, give give) {
				for state, n := range f.Envoys {
					give(float64(n), state)
				}
			},
		},
		{
			name: "scrier_links", help: "Open links by whose they are and what carries them. Of a page it is each connection of a viewer, lanes included.",
			labels: []label{peers, roads},
			gauge: func(f *Figures, give give) {
				for link, n := range f.Links {
					give(float64(n), link.Peer, link.Road)
				}
			},
		},
		{
			name: "scrier_agent_links_over_tcp", help: "Agents' open links over TCP by why they are not over QUIC, as the agents say.",
			labels: []label{whys},
			gauge:  func(f *Figures, give give) { each(f.Why, whys.values, give) },
		},
		{
			name: "scrier_agent_moves_total", help: "How often an agent went on by the other road before its link was given up.",
			labels: []label{{name: "from", values: roads.values}, {name: "to", values: roads.values}},
			counter: func(f *Figures, give give) {
				for m, n := range f.Moves {
					give(float64(n), m.From, m.To)
				}
			},
		},
		{
			name: "scrier_viewers", help: "Viewers that are attached to sessions, by what carries them. Channels of a session beside its first count by themselves.",
			labels: []label{roads, parts},
			gauge: func(f *Figures, give give) {
				for v, n := range f.Viewer {
					give(float64(n), v.Road, v.Part)
				}
			},
		},
		{
			name: "scrier_page_lanes", help: "WebSockets beside the WebTransport of a page, for much output.",
			gauge: func(f *Figures, give give) { give(float64(f.Aside)) },
		},
		{
			name: "scrier_sessions", help: "Sessions that are open, or are being opened (waiting).",
			labels: []label{kinds, phases},
			gauge: func(f *Figures, give give) {
				for kind, s := range f.Sessions {
					give(float64(s.Waiting), kind, "waiting")
					give(float64(s.Active), kind, "active")
				}
			},
		},
		{
			name: "scrier_sessions_limit", help: "How many sessions may be open at once: scrier.max_sessions.",
			gauge: func(f *Figures, give give) { give(float64(f.MaxSessions)) },
		},
		{
			name: "scrier_sessions_opened_total", help: "Sessions that were opened.",
			labels: []label{kinds},
			counter: func(f *Figures, give give) {
				for kind, s := range f.Sessions {
					give(float64(s.Opened), kind)
				}
			},
		},
		{
			name: "scrier_sessions_ended_total", help: "Sessions that ended, and requests that had a session's place and were not opened, by the name of the error; ok is an ordinary end.",
			labels: []label{kinds, codes},
			counter: func(f *Figures, give give) {
				for kind, s := range f.Sessions {
					for code, n := range s.Ended {
						give(float64(n), kind, code)
					}
				}
			},
		},
		{
			name: "scrier_session_requests_refused_total", help: "Requests for sessions that were refused before they had a session's place, by the name of the error.",
			labels:  []label{codes},
			counter: func(f *Figures, give give) { each(f.Refused, nil, give) },
		},
		{
			name: "scrier_session_open_seconds", help: "From the request for a session until it was open, the time included in which a person was asked something.",
			labels: []label{kinds},
			histogram: func(f *Figures, give giveSpread) {
				for kind, s := range f.Sessions {
					give(s.Took, kind)
				}
			},
		},
		{
			name: "scrier_session_bytes_total", help: "Bytes of sessions.",
			labels: []label{kinds, directions},
			counter: func(f *Figures, give give) {
				for kind, s := range f.Sessions {
					give(float64(s.Sent), kind, "to_envoy")
					give(float64(s.Received), kind, "from_envoy")
				}
			},
		},
		{
			name: "scrier_lanes", help: "TLS connections of their own that streams with much to carry have beside their link.",
			gauge: func(f *Figures, give give) { give(float64(f.Lanes.Open)) },
		},
		{
			name: "scrier_lanes_taken_total", help: "Lanes that streams have taken.",
			counter: func(f *Figures, give give) { give(float64(f.Lanes.Taken)) },
		},
		{
			name: "scrier_lanes_went_back_total", help: "Lanes that broke while they were needed. Their streams went on over the link.",
			counter: func(f *Figures, give give) { give(float64(f.Lanes.WentBack)) },
		},
		{
			name: "scrier_lanes_refused_total", help: "Lanes that were refused for want of memory. Their streams stayed on the link.",
			counter: func(f *Figures, give give) { give(float64(f.Lanes.Refused)) },
		},
		{
			name: "scrier_lane_memory_bytes", help: "Memory that is set aside for lanes.",
			gauge: func(f *Figures, give give) { give(float64(f.Lanes.Memory.Taken)) },
		},
		{
			name: "scrier_lane_memory_limit_bytes", help: "Memory that lanes may have, all together.",
			gauge: func(f *Figures, give give) { give(float64(f.Lanes.Memory.Most)) },
		},
		{
			name: "scrier_program_memory_bytes", help: "Memory that is set aside for commands without a terminal, which go on over another link.",
			gauge: func(f *Figures, give give) { give(float64(f.ProgramBytes.Taken)) },
		},
		{
			name: "scrier_program_memory_limit_bytes", help: "Memory that such commands may have, all together. Without it a command ends with its link.",
			gauge: func(f *Figures, give give) { give(float64(f.ProgramBytes.Most)) },
		},
		{
			name: "scrier_handshakes", help: "Handshakes over QUIC and TCP that have begun and are not through.",
			gauge: func(f *Figures, give give) { give(float64(f.Handshakes.Taken)) },
		},
		{
			name: "scrier_handshakes_limit", help: "How many may have begun at once.",
			gauge: func(f *Figures, give give) { give(float64(f.Handshakes.Most)) },
		},
		{
			name: "scrier_handshakes_refused_total", help: "Handshakes that came to nothing for want of a place: not begun, as too many came at once or too fast from one network or in all, or ended for a newer one (gave_way).",
			labels:  []label{reasons},
			counter: func(f *Figures, give give) { each(f.TurnedAway, reasons.values, give) },
		},
		{
			name: "scrier_places_taken", help: "Places that are taken: by strangers' links and viewers without a ticket, links and lanes of who is known, and pages.",
			labels: []label{places},
			gauge: func(f *Figures, give give) {
				for of, p := range f.Places {
					give(float64(p.Taken), of)
				}
			},
		},
		{
			name: "scrier_places_limit", help: "How many such places there are. Agents' links have no limit in all, only one for each envoy.",
			labels: []label{places},
			gauge: func(f *Figures, give give) {
				for of, p := range f.Places {
					if p.Most > 0 {
						give(float64(p.Most), of)
					}
				}
			},
		},
		{
			name: "scrier_places_refused_total", help: "How often there was no such place, in all or for one network, operator or envoy.",
			labels: []label{places},
			counter: func(f *Figures, give give) {
				for of, p := range f.Places {
					give(float64(p.Refused), of)
				}
			},
		},
		{
			name: "scrier_rate_limited_total", help: "How often something was held back or refused because it came too fast: requests and bytes of who has not signed in, logins behind failures, and what one operator does.",
			labels:  []label{limits},
			counter: func(f *Figures, give give) { each(f.Limited, limits.values, give) },
		},
		{
			name: "scrier_panics_total", help: "Faults of the relay's own code. Each has ended one request, link or session, and is in the log.",
			counter: func(f *Figures, give give) { give(float64(f.Panics)) },
		},
		{
			name: "scrier_audit_records", help: "Records in the audit log.",
			gauge: func(f *Figures, give give) { give(float64(f.AuditRecords)) },
		},
		{
			name: "scrier_audit_file_bytes", help: "The part of audit.db that is in use.",
			gauge: func(f *Figures, give give) { maybe(f.AuditBytes, give) },
		},
		{
			name: "scrier_audit_append_seconds", help: "How long a record took until it was on the disk.",
			histogram: func(f *Figures, give giveSpread) { give(f.AuditTook) },
		},
		{
			name: "scrier_audit_writable", help: "1: the audit log could be written some seconds ago. 0: no session opens, and those that are open end soon.",
			gauge: func(f *Figures, give give) { give(flag(f.AuditWritable)) },
		},
		{
			name: "scrier_store_file_bytes", help: "The part of state.db that is in use.",
			gauge: func(f *Figures, give give) { maybe(f.StoreBytes, give) },
		},
		{
			name: "scrier_store_update_seconds", help: "How long a change of the state took until it was on the disk, the wait for others included.",
			histogram: func(f *Figures, give giveSpread) { give(f.StoreTook) },
		},
		{
			name: "scrier_store_reserve_present", help: "1: the space that is kept free for the end of sessions is there. 0: the disk is nearly full.",
			gauge: func(f *Figures, give give) { give(flag(f.StoreReserve)) },
		},
		{
			name: "scrier_certificate_expiry_timestamp_seconds", help: "When the relay's certificates end, in seconds since 1970. The relay makes those called relay and browser anew by itself; public is that of server.yaml's block tls.",
			labels: []label{ends},
			gauge: func(f *Figures, give give) {
				for of, end := range f.Ends {
					give(float64(end.Unix()), of)
				}
			},
		},
	}
}

// each gives what was counted, and 0 for those of all that were not.
func each[N int | uint64](counted map[string]N, all []string, give give) {
	for _, value := range all {
		if _, ok := counted[value]; !ok {
			give(0, value)
		}
	}
	for value, n := range counted {
		give(float64(n), value)
	}
}

func maybe(n *int64, give give) {
	if n != nil {
		give(float64(*n))
	}
}
