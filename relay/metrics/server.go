package metrics

import (
	"io"
	"log"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// Path is where Prometheus looks.
const Path = "/metrics"

// How many scrapes are answered in a second, and at once. Each looks at all agents that are connected: so who asks again and again would have
// the relay do nothing else. Prometheus asks some times a minute.
const scrapes, scrapesBurst = 10, 50

// Server is HTTP's server for metrics alone, over plain connections, as Prometheus expects it. Whoever reaches it may ask: so there is
// nothing else, what is asked is small, and no connection outlives its answer.
func Server(metrics http.Handler) *http.Server {
	mux := http.NewServeMux()
	limit := rate.NewLimiter(scrapes, scrapesBurst)
	mux.HandleFunc("GET "+Path, func(w http.ResponseWriter, r *http.Request) {
		if !limit.Allow() {
			http.Error(w, "too many scrapes", http.StatusTooManyRequests)
			return
		}
		metrics.ServeHTTP(w, r)
	})
	s := &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       5 * time.Second,
		WriteTimeout:      scrapeTime + 5*time.Second,
		IdleTimeout:       5 * time.Second,
		MaxHeaderBytes:    8 << 10, // Prometheus sends some hundred bytes
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	s.SetKeepAlivesEnabled(false)
	return s
}

// MaxConnections is how many connections there may be at once; more wait in the kernel.
const MaxConnections = 16
