package web

import (
	"context"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"scrier/relay/access"
	"scrier/relay/audit"
)

func (a *api) auditRoutes() []route {
	return []route{
		{
			method: "GET", pattern: "/audit", verb: access.SeeAudit, what: "List audit records, oldest first", packs: true, handle: a.auditRecords, out: []Record{},
			query: []param{
				{"from", "the number of the first record; without it, the newest that fit"},
				{"before", "only records with a smaller number"},
				{"limit", "at most so many; 200 without it"},
				{"type", "of this type, or of those below it: envoy, envoy.enrol"},
				{"operator", "with this operator's name"},
				{"envoy", "with this envoy's id or name"},
				{"session", "with this session's id"},
				{"q", "with this text in any place, in upper or lower case"},
			},
			more: "One request looks at a bounded number of records: an answer with few records, or none, is not the end of them while the header Link names a next page.",
		},
		{method: "GET", pattern: "/audit/export", verb: access.SeeAudit, what: "Export the whole audit log", raw: a.auditExport, media: "application/octet-stream"},
		{method: "POST", pattern: "/audit/verify", verb: access.SeeAudit, what: "Verify the whole audit log", raw: a.auditVerify, out: Verified{}},
	}
}

// Record is an audit record as the API shows one.
type Record struct {
	Seq       uint64            `json:"seq"`
	Time      time.Time         `json:"time"`
	Type      string            `json:"type"`
	Operator  string            `json:"operator"`
	EnvoyID   string            `json:"envoy_id"`
	EnvoyName string            `json:"envoy_name"`
	SessionID string            `json:"session_id"`
	Source    string            `json:"source"`
	Code      string            `json:"code"`
	Detail    string            `json:"detail"`
	Fields    map[string]string `json:"fields"`
}

func recordOf(r audit.Record) Record {
	out := Record{
		Seq: r.Seq, Time: r.Time.UTC(), Type: r.Type, Operator: r.Operator, EnvoyID: r.Envoy, EnvoyName: r.EnvoyName,
		SessionID: r.Session, Source: r.Source, Code: r.Code, Detail: r.Detail, Fields: r.Fields,
	}
	if out.Fields == nil {
		out.Fields = map[string]string{}
	}
	return out
}

const (
	defaultRecords = 200
	// scanned is how many records one request looks at: a tenth of a second's work.
	scanned = 20_000
)

// auditRecords is a page: the newest records that match and come before ?before=, or those from
// ?from= on.
func (a *api) auditRecords(r *http.Request, _ access.Operator) (any, error) {
	q := r.URL.Query()
	limit, err := limitOf(q)
	if err != nil {
		return nil, err
	}
	if limit == 0 {
		limit = defaultRecords
	}
	size := a.Audit.Size()
	before, err := numberOf(q, "before", size)
	if err != nil {
		return nil, err
	}
	before = min(before, size)
	from, err := numberOf(q, "from", 0)
	if err != nil {
		return nil, err
	}
	s := scan{log: a.Audit, match: matching(q), limit: limit, left: scanned, from: from, before: before}
	if q.Has("from") {
		err = s.forward(r.Context())
	} else {
		err = s.backward(r.Context())
	}
	if err != nil {
		return nil, err
	}
	if s.from >= s.before {
		return s.found, nil
	}
	if q.Has("from") {
		return part{s.found, following(q, "from", strconv.FormatUint(s.from, 10))}, nil
	}
	return part{s.found, following(q, "before", strconv.FormatUint(s.before, 10))}, nil
}

// scan looks for records from <= seq < before; what is left between the two afterwards has not
// been looked at.
type scan struct {
	log          *audit.Log
	match        func(audit.Record) bool
	limit        int    // of what is found
	left         uint64 // of what is looked at
	from, before uint64
	found        []Record // oldest first
}

func (s *scan) forward(ctx context.Context) error {
	s.found = []Record{}
	for s.left > 0 && s.from < s.before {
		n := min(s.before-s.from, audit.MaxRecords, s.left)
		records, err := s.log.Records(ctx, s.from, int(n))
		if err != nil {
			return err
		}
		for _, r := range records {
			if s.from = r.Seq + 1; s.match(r) {
				s.found = append(s.found, recordOf(r))
				if len(s.found) == s.limit {
					return nil
				}
			}
		}
		s.left -= n
	}
	return nil
}

func (s *scan) backward(ctx context.Context) error {
	s.found = []Record{}
	defer func() { slices.Reverse(s.found) }()
	for s.left > 0 && s.from < s.before {
		n := min(s.before-s.from, audit.MaxRecords, s.left)
		records, err := s.log.Records(ctx, s.before-n, int(n))
		if err != nil {
			return err
		}
		for _, r := range slices.Backward(records) {
			if s.before = r.Seq; s.match(r) {
				s.found = append(s.found, recordOf(r))
				if len(s.found) == s.limit {
					return nil
				}
			}
		}
		s.left -= n
	}
	return nil
}

// matching is the filter that a query describes.
func matching(q url.Values) func(audit.Record) bool {
	kind, operator, envoy, session := q.Get("type"), q.Get("operator"), q.Get("envoy"), q.Get("session")
	text := strings.ToLower(q.Get("q"))
	return func(r audit.Record) bool {
		return (kind == "" || r.Type == kind || strings.HasPrefix(r.Type, kind+".")) &&
			(operator == "" || r.Operator == operator) &&
			(envoy == "" || r.Envoy == envoy || strings.EqualFold(r.EnvoyName, envoy)) &&
			(session == "" || r.Session == session) &&
			(text == "" || contains(r, text))
	}
}

func contains(r audit.Record, text string) bool {
	for _, s := range []string{r.Type, r.Operator, r.Envoy, r.EnvoyName, r.Session, r.Source, r.Code, r.Detail} {
		if strings.Contains(strings.ToLower(s), text) {
			return true
		}
	}
	for k, v := range r.Fields {
		if strings.Contains(strings.ToLower(k), text) || strings.Contains(strings.ToLower(v), text) {
			return true
		}
	}
	return false
}

func (a *api) auditExport(w http.ResponseWriter, r *http.Request, _ access.Operator) {
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Content-Disposition", `attachment; filename="scrier-audit.txt"`)
	if err := a.Audit.Export(r.Context(), &streamed{w}); err != nil {
		a.Log.Error("export the audit log", "err", err)
		// The answer is under way already: break it off, so that it does not look complete.
		panic(http.ErrAbortHandler)
	}
}
