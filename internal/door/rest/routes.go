package rest

import (
	"net/http"
	"strings"

	"github.com/twofold-iot/twofold/internal/wot"
)

// route is one operation: what is served, and what its description says of it.
type route struct {
	method, path string
	name         string   // operationId
	summary      string   // one line
	query        []string // names of parameters; see parameters
	headers      []string // of the request
	body         any      // example of the type; nil: none
	bodyTypes    []string // application/json; of PATCH, application/merge-patch+json too
	answer       any
	status       int      // of success; 200
	types        []string // of the answer; application/json
	handler      handler
	slash        bool // the path with a slash at its end is served too
}

// routes lists all operations. What the parts are not there for is left out.
func (d *door) routes() []route {
	list := []route{
		{
			method: "GET", path: "/api/v1/twins", name: "listTwins", summary: "List twins by name",
			query: []string{"limit", "cursor"}, answer: twinPage{}, handler: d.listTwins,
		}, {
			method: "DELETE", path: "/api/v1/twins/{id}", name: "deleteTwin", summary: "Delete the classic shadow, a named one, or the whole twin; the history stays",
			query: []string{"shadow"}, headers: []string{"If-Match", "Idempotency-Key"}, answer: changed{}, handler: d.deleteTwin,
		}, {
			method: "PATCH", path: "/api/v1/twins/{id}/desired", name: "patchDesired", summary: "Merge a JSON merge patch (RFC 7396) into what is asked of the thing",
			query: []string{"shadow", "expiresIn"}, headers: []string{"If-Match", "Idempotency-Key"}, body: object{}, answer: changed{}, handler: d.patch("desired"),
		}, {
			method: "PATCH", path: "/api/v1/twins/{id}/reported", name: "patchReported", summary: "Merge a JSON merge patch (RFC 7396) into what the thing has reported, in its stead",
			query: []string{"shadow"}, headers: []string{"If-Match", "Idempotency-Key"}, body: object{}, answer: changed{}, handler: d.patch("reported"),
		}, {
			method: "GET", path: "/api/v1/twins/{id}/shadows", name: "listShadows", summary: "List the shadows of a thing",
			query: []string{"limit", "cursor"}, answer: shadowPage{}, handler: d.listShadows,
		},
	}
	for _, path := range []string{"/api/v1/twins/{id}", "/twins/{id}"} {
		r := route{
			method: "GET", path: path, name: "getTwin", summary: "Read a twin: state, history of the last day, computed attributes; or as it was at a time or version",
			query: []string{"shadow"}, headers: []string{"If-None-Match"}, answer: document{}, handler: d.getTwin,
		}
		if d.opts.Twins != nil {
			r.types = []string{"application/json", wot.MediaType}
		}
		if d.opts.Past != nil {
			r.query = []string{"shadow", "at", "version", "history", "from", "to", "limit", "cursor"}
		}
		if path == "/twins/{id}" {
			r.name = "getTwinAtRoot"
		}
		list = append(list, r)
	}
	if d.opts.Past != nil {
		list = append(list, d.pastRoutes()...)
	}
	if d.opts.Twins != nil {
		list[0].query = append(list[0].query, "model")
		list[1].query = append(list[1].query, "whole")
		list = append(list, d.twinRoutes()...)
		list = append(list, d.propertyRoutes()...)
	}
	if d.opts.Past != nil && d.opts.Twins != nil {
		list = append(list, route{
			method: "POST", path: "/api/v1/twins/{id}/events", name: "postEvent", summary: "Add an event of the device or an application to the log of a thing",
			body: newEvent{}, answer: eventDocument{}, status: http.StatusCreated, handler: d.postEvent,
		})
	}
	list = d.addDeviceRoutes(list)
	if d.opts.Mirror != nil {
		list = append(list, d.ingestRoutes()...)
	}
	if d.opts.Telemetry != nil {
		list = append(list, d.telemetryRoutes()...)
	}
	if d.opts.Storage != nil {
		list = append(list, d.storageRoutes()...)
	}
	if d.opts.Backup != nil {
		list = append(list, d.backupRoutes()...)
	}
	if d.opts.Feed != nil {
		list = append(list, route{
			method: "GET", path: "/api/v1/stream", name: "stream", summary: "Follow committed events as server-sent events; each id is a place to go on from",
			query:   []string{"thing", "model", "kind", "severity", "path", "where", "minInterval", "names", "after"},
			headers: []string{"Last-Event-ID"}, types: []string{"text/event-stream"}, handler: d.stream,
		})
	}
	return d.addSampleRoutes(d.addDefinedRoutes(list))
}

// addDefinedRoutes adds what an administrator defines.
func (d *door) addDefinedRoutes(list []route) []route {
	if d.opts.Webhooks != nil {
		list = append(list, d.webhookRoutes()...)
	}
	if d.opts.Models != nil {
		list = append(list, d.modelRoutes()...)
	}
	if d.opts.Alarms != nil {
		list = append(list, d.alarmRoutes()...)
	}
	if d.opts.Behaviours != nil {
		list = append(list, d.behaviourRoutes()...)
	}
	if d.opts.Intents != nil {
		list = append(list, d.intentRoutes()...)
	}
	if d.opts.Predictions != nil {
		list = append(list, d.predictionRoutes()...)
	}
	if d.opts.Fleet != nil {
		list = append(list, d.fleetRoutes()...)
	}
	if d.opts.Groups != nil {
		list = append(list, d.groupRoutes()...)
	}
	return list
}

// addDeviceRoutes adds what is sent to devices.
func (d *door) addDeviceRoutes(list []route) []route {
	if d.opts.Commands != nil {
		list = append(list, d.commandRoutes()...)
	}
	if d.opts.Jobs != nil {
		list = append(list, d.jobRoutes()...)
	}
	if d.opts.Artifacts != nil {
		list = append(list, d.artifactRoutes()...)
	}
	return list
}

// addSampleRoutes lets series be of metrics too, if samples can be read.
func (d *door) addSampleRoutes(list []route) []route {
	if d.opts.Samples == nil {
		return list
	}
	for i := range list {
		if list[i].name == "getSeries" {
			list[i].query = append(list[i].query, "metric", "window", "fn", "points", "arrivals")
			list[i].types = seriesTypes
		}
	}
	return append(list, route{
		method: "GET", path: "/api/v1/twins/{id}/metrics", name: "listMetrics", summary: "List the metrics of the telemetry of a thing, with their last values",
		answer: metricList{}, handler: d.listMetrics,
	}, route{
		method: "GET", path: "/api/v1/series", name: "getFleetSeries", summary: "Read metrics of several things: points, figures of windows, or a chart",
		query: []string{"thing", "metric", "from", "to", "limit", "window", "fn", "points", "arrivals"}, types: seriesTypes,
		answer: fleetSeriesDocument{}, handler: d.getFleetSamples,
	})
}

func (d *door) twinRoutes() []route {
	return []route{
		{
			method: "POST", path: "/api/v1/twins", name: "createTwin", summary: "Create a twin with model and tags",
			body: newTwin{}, answer: twinEntry{}, status: http.StatusCreated, handler: d.createTwin,
		}, {
			method: "PATCH", path: "/api/v1/twins/{id}", name: "patchTwin", summary: "Merge a JSON merge patch (RFC 7396) into model and tags",
			body: twinPatch{}, answer: twinEntry{}, handler: d.patchTwin,
		}, {
			method: "POST", path: "/api/v1/twins:batchGet", name: "batchGetTwins", summary: "Read up to 1,000 twins, without history",
			body: batchRequest{}, answer: batchAnswer{}, handler: d.batchGet,
		},
	}
}

func (d *door) pastRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/twins/{id}/history", name: "getHistory", summary: "Read the past states of a shadow, or what was sent",
			query: []string{"shadow", "allShadows", "from", "to", "fromVersion", "toVersion", "order", "form", "format", "limit", "cursor"},
			types: []string{"application/json", "application/x-ndjson", "text/csv"}, answer: historyPage{}, handler: d.getHistory,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/events", name: "getEvents", summary: "Search the event log of a thing",
			query: []string{"kind", "severity", "type", "text", "correlation", "from", "to", "order", "format", "limit", "cursor"},
			types: []string{"application/json", "application/x-ndjson"}, answer: eventPage{}, handler: d.getEvents,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/diff", name: "getDiff", summary: "Compare a shadow at two times or versions",
			query: []string{"shadow", "from", "to"}, answer: diffDocument{}, handler: d.getDiff,
		}, {
			method: "GET", path: "/api/v1/twins/{id}/series", name: "getSeries", summary: "Read a number of a shadow over time (path), or telemetry (metric)",
			query: []string{"shadow", "path", "from", "to", "limit"}, answer: seriesDocument{}, handler: d.getSeries,
		}, {
			method: "GET", path: "/api/v1/history", name: "fleetHistory", summary: "Read the past states of all things of a model",
			query: []string{"model", "from", "to", "order", "form", "format", "limit", "cursor"},
			types: []string{"application/json", "application/x-ndjson", "text/csv"}, answer: historyPage{}, handler: d.fleetHistory,
		},
	}
}

// object is any JSON object.
type object map[string]any

// register serves all routes, and says on each path which methods there are.
func (d *door) register(mux *http.ServeMux) {
	allowed := map[string][]string{}
	routes := d.routes()
	for _, r := range routes {
		mux.Handle(r.method+" "+r.path, d.wrap(r.checked()))
		if r.slash {
			mux.Handle(r.method+" "+r.path+"/{$}", d.wrap(r.checked()))
		}
		allowed[r.path] = append(allowed[r.path], r.method)
	}
	for path, methods := range allowed {
		mux.Handle(path, d.wrap(methodNotAllowed(allow(methods))))
	}
	mux.Handle("/", d.wrap(noRoute))
	mux.HandleFunc("GET /problems/{name}", servePage)
	registerDocs(mux, describe(routes))
}

// checked refuses parameters that the route does not have.
func (r route) checked() handler {
	return func(w http.ResponseWriter, req *http.Request) error {
		if err := checkKnown(req, r.query); err != nil {
			return err
		}
		return r.handler(w, req)
	}
}

// allow is the value of the Allow header, in one order; GET serves HEAD too.
func allow(methods []string) string {
	var list []string
	for _, m := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
		for _, have := range methods {
			if have != m {
				continue
			}
			list = append(list, m)
			if m == http.MethodGet {
				list = append(list, http.MethodHead)
			}
		}
	}
	return strings.Join(list, ", ")
}
