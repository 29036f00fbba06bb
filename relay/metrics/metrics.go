// Package metrics shows a relay's figures to Prometheus. It knows none of the relay's rooms: each counts for itself, package relay reads
// them all when somebody asks, and only here it is known what Prometheus wants to see. So nothing is done for a metric while nobody asks
// but to count.
package metrics

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"scrier/relay/tally"
)

const (
	// readTime is how long the rooms may take to tell their figures, and scrapeTime an answer in all.
	readTime, scrapeTime = 5 * time.Second, 10 * time.Second

	// maxScrapes is how many may be answered at once: two Prometheus that stand in for each other, and a person.
	maxScrapes = 3
)

// Metrics is what a relay says of itself.
type Metrics struct {
	read     func(context.Context) Figures
	families []family
	descs    []*prometheus.Desc
	registry *prometheus.Registry
}

// New makes it of what reads the relay's figures, which may be called concurrently.
func New(read func(context.Context) Figures) (*Metrics, error) {
	m := &Metrics{read: read, families: families(), registry: prometheus.NewRegistry()}
	for i := range m.families {
		m.descs = append(m.descs, m.families[i].desc())
	}
	for _, c := range []prometheus.Collector{
		m,
		// Their place in another package has database/sql with it.
		prometheus.NewGoCollector(),                                       //lint:ignore SA1019 see above
		prometheus.NewProcessCollector(prometheus.ProcessCollectorOpts{}), //lint:ignore SA1019 see above
	} {
		if err := m.registry.Register(c); err != nil {
			return nil, fmt.Errorf("register metrics: %w", err)
		}
	}
	return m, nil
}

// Describe implements [prometheus.Collector].
func (m *Metrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range m.descs {
		to <- d
	}
}

// Collect implements [prometheus.Collector].
func (m *Metrics) Collect(to chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	figures := m.read(ctx)
	for i := range m.families {
		f := &m.families[i]
		s := samples{family: f, desc: m.descs[i]}
		switch {
		case f.gauge != nil:
			f.gauge(&figures, s.value)
		case f.counter != nil:
			f.counter(&figures, s.value)
		default:
			f.histogram(&figures, s.spread)
		}
		s.send(to)
	}
}

// samples are those of one family.
type samples struct {
	*family
	desc *prometheus.Desc
	by   map[string]*sample // by their labels' values
}

type sample struct {
	values []string
	value  float64
	spread tally.Spread
}

// of is the sample with such values, a new one if there is none. Values that the labels may not have are all the same one.
func (s *samples) of(values []string) *sample {
	values = s.known(values)
	key := strings.Join(values, "\x00")
	if s.by == nil {
		s.by = map[string]*sample{}
	}
	if s.by[key] == nil {
		s.by[key] = &sample{values: values}
	}
	return s.by[key]
}

func (s *samples) value(v float64, values ...string) { s.of(values).value += v }

func (s *samples) spread(v tally.Spread, values ...string) {
	into := &s.of(values).spread
	into.Count += v.Count
	into.Seconds += v.Seconds
	if into.UpTo == nil {
		into.UpTo = map[float64]uint64{}
	}
	for limit, n := range v.UpTo {
		into.UpTo[limit] += n
	}
}

func (s *samples) send(to chan<- prometheus.Metric) {
	for _, one := range s.by {
		var m prometheus.Metric
		var err error
		switch {
		case s.gauge != nil:
			m, err = prometheus.NewConstMetric(s.desc, prometheus.GaugeValue, one.value, one.values...)
		case s.counter != nil:
			m, err = prometheus.NewConstMetric(s.desc, prometheus.CounterValue, one.value, one.values...)
		default:
			m, err = prometheus.NewConstHistogram(s.desc, one.spread.Count, one.spread.Seconds, one.spread.UpTo, one.values...)
		}
		if err != nil {
			m = prometheus.NewInvalidMetric(s.desc, err)
		}
		to <- m
	}
}

// Description is what there is to know of a metric before it has a value.
type Description struct {
	Name, Kind, Help string
	Labels           []string
}

// All are the relay's own metrics.
func All() (all []Description) {
	for _, f := range families() {
		d := Description{Name: f.name, Kind: f.kind(), Help: f.help}
		for _, l := range f.labels {
			d.Labels = append(d.Labels, l.name)
		}
		all = append(all, d)
	}
	return all
}

// Handler answers with all metrics, a few scrapes at a time.
func (m *Metrics) Handler(log *slog.Logger) http.Handler {
	return promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{
		ErrorLog: logger{log}, ErrorHandling: promhttp.ContinueOnError, // what is there is said
		MaxRequestsInFlight: maxScrapes, Timeout: scrapeTime,
	})
}

// logger writes promhttp's errors to a log.
type logger struct{ *slog.Logger }

// Println implements [promhttp.Logger].
func (l logger) Println(v ...any) { l.Warn("metrics", "err", strings.TrimSpace(fmt.Sprintln(v...))) }
