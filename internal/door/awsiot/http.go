package awsiot

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// route is an operation of the HTTP data plane.
type route uint8

const (
	routeNone route = iota
	routeShadow
	routeListShadows
	routePublish
	routeRetained
	routeListRetained
	routeJobs
	routeIndex
	routeThings
	routeThingTypes
)

// findRoute picks the route of an escaped path and returns its variable part, still
// escaped. The escaped path decides, since a topic arrives as one segment with its
// slashes as %2F and a thing name with its colon as %3A.
//
// Source: the service model of iot-data (restJson1).
func findRoute(escapedPath string) (r route, arg string) {
	if jobRouteOf(escapedPath) {
		return routeJobs, ""
	}
	if escapedPath == "/indices" || strings.HasPrefix(escapedPath, "/indices/") {
		return routeIndex, ""
	}
	if rest, ok := strings.CutPrefix(escapedPath, "/things/"); ok {
		thing, tail, deeper := strings.Cut(rest, "/")
		switch {
		case tail == "shadow":
			return routeShadow, thing
		case !deeper:
			return routeThings, ""
		}
		return routeNone, ""
	}
	if escapedPath == "/things" {
		return routeThings, ""
	}
	if escapedPath == "/thing-types" || strings.HasPrefix(escapedPath, "/thing-types/") {
		return routeThingTypes, ""
	}
	if thing, ok := strings.CutPrefix(escapedPath, "/api/things/shadow/ListNamedShadowsForThing/"); ok && !strings.Contains(thing, "/") {
		return routeListShadows, thing
	}
	// Some clients send the slashes of a topic as they are: the rest of the path is
	// the topic in both spellings.
	if topic, ok := strings.CutPrefix(escapedPath, "/topics/"); ok {
		return routePublish, topic
	}
	if topic, ok := strings.CutPrefix(escapedPath, "/retainedMessage/"); ok {
		return routeRetained, topic
	}
	if escapedPath == "/retainedMessage" {
		return routeListRetained, ""
	}
	return routeNone, ""
}

// Serves reports whether a request is for the AWS data plane, for a server that has
// other routes beside it. It looks at the escaped path alone, so that a wrong verb
// still gets the answer of AWS.
func Serves(r *http.Request) bool {
	rt, _ := findRoute(r.URL.EscapedPath())
	return rt != routeNone
}

// Handler returns the HTTP data plane. SigV4 headers are accepted and not verified.
// It must be called with the request as it came: no mux before it may clean the
// path.
func (d *Door) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &exchange{door: d, w: w, r: r, id: d.opts.NewID()}
		x.serve()
	})
}

// exchange is one HTTP request and its answer.
type exchange struct {
	door  *Door
	w     http.ResponseWriter
	r     *http.Request
	id    string // of the request, told to the client
	query url.Values
}

func (x *exchange) serve() {
	rt, arg := findRoute(x.r.URL.EscapedPath())
	if rt == routeNone {
		x.fault(Status{http.StatusNotFound, "UnknownOperationException"}, "No operation of the data plane has this path")
		return
	}
	if rt == routeJobs && x.door.jobs == nil {
		x.fault(Status{http.StatusNotFound, "UnknownOperationException"}, "There are no jobs here")
		return
	}
	if (rt >= routeIndex) && x.door.fleet == nil {
		x.fault(Status{http.StatusNotFound, "UnknownOperationException"}, "There is no index here")
		return
	}
	if verbs := methods(rt); rt < routeJobs && !slices.Contains(verbs, x.r.Method) {
		allowed := strings.Join(verbs, ", ")
		x.w.Header().Set("Allow", allowed)
		x.fault(Status{http.StatusMethodNotAllowed, "MethodNotAllowedException"},
			"Method "+x.r.Method+" is not allowed here; use "+allowed)
		return
	}
	arg, err := url.PathUnescape(arg)
	if err == nil {
		x.query, err = url.ParseQuery(x.r.URL.RawQuery)
	}
	if err != nil {
		x.fail(invalid("Invalid percent-encoding in the path or query"))
		return
	}
	switch rt {
	case routeShadow:
		x.shadow(arg)
	case routeListShadows:
		x.listShadows(arg)
	case routePublish:
		x.publish(arg)
	case routeRetained:
		x.retained(arg)
	case routeListRetained:
		x.listRetained()
	case routeJobs:
		x.jobs()
	case routeIndex:
		x.index()
	case routeThings:
		x.things()
	case routeThingTypes:
		x.thingTypes()
	case routeNone:
	}
}

// methods returns the verbs of a route.
func methods(rt route) []string {
	switch rt {
	case routeShadow:
		return []string{http.MethodGet, http.MethodPost, http.MethodDelete}
	case routePublish:
		return []string{http.MethodPost}
	case routeListShadows, routeRetained, routeListRetained, routeJobs, routeIndex, routeThings, routeThingTypes, routeNone:
	}
	return []string{http.MethodGet}
}

// body reads the body up to the limit. One that announces more is refused unread.
func (x *exchange) body() ([]byte, error) { return x.readBody(int64(x.door.opts.PayloadBytesMax)) }

func (x *exchange) readBody(bytesMax int64) ([]byte, error) {
	if x.r.ContentLength > bytesMax {
		return nil, errTooLarge
	}
	b, err := io.ReadAll(http.MaxBytesReader(x.w, x.r.Body, bytesMax))
	if over := (*http.MaxBytesError)(nil); errors.As(err, &over) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, &twin.Error{Kind: twin.KindInvalid, Message: "The body could not be read to its end", Err: err}
	}
	return b, nil
}

// origin says who asks. Until authentication lands the address is all that is
// known: the access key of an unverified signature is not evidence.
func (x *exchange) origin() twin.Origin {
	host, _, err := net.SplitHostPort(x.r.RemoteAddr)
	if err != nil {
		host = x.r.RemoteAddr
	}
	return twin.Origin{Door: twin.DoorAWS, Session: host}
}

// fail answers with an error; the one way to do so.
func (x *exchange) fail(err error) {
	x.fault(StatusOf(twin.Kind(err)), twin.ErrorMessage(err))
}

// fault writes an error as the real service does: the class in a header with a
// trailing colon, since that is where the SDKs look first.
//
// Source: raw capture of the service, port 8443.
func (x *exchange) fault(s Status, message string) {
	x.w.Header()["x-amzn-ErrorType"] = []string{s.Type + ":"}
	x.replyJSON(s.Code, struct {
		Message string `json:"message"`
		TraceID string `json:"traceId"`
	}{message, x.id})
}

func (x *exchange) replyJSON(code int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		panic("awsiot: an answer has a JSON form: " + err.Error())
	}
	x.reply(code, b)
}

// reply writes an answer. A client that has gone is not worth a word.
func (x *exchange) reply(code int, body []byte) {
	h := x.w.Header()
	h.Set("Content-Type", "application/json")
	h["x-amzn-RequestId"] = []string{x.id}
	x.w.WriteHeader(code)
	_, _ = x.w.Write(body)
}

func invalid(message string) error { return twin.NewError(twin.KindInvalid, message) }
