package web

import (
	"net/http"

	"scrier/relay/access"
	"scrier/wire"
)

func (a *api) metricsRoutes() []route {
	return []route{
		{method: "GET", pattern: "/metrics", verb: access.SeeMetrics, what: "The relay's figures, as Prometheus reads them", raw: a.metrics, media: "text/plain"},
	}
}

func (a *api) metrics(w http.ResponseWriter, r *http.Request, _ access.Operator) {
	if a.Metrics == nil {
		a.fail(w, wire.Errorf(wire.NotFound, "this relay has no metrics"))
		return
	}
	a.Metrics.ServeHTTP(w, r)
}
