package rest

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// problem is an RFC 9457 problem document and the error that becomes one.
type problem struct {
	Type           string        `json:"type"`
	Title          string        `json:"title"`
	Status         int           `json:"status"`
	Detail         string        `json:"detail,omitempty"`
	Instance       string        `json:"instance,omitempty"`
	RequestID      string        `json:"requestId"`
	Parameter      string        `json:"parameter,omitempty"` // of the query, that is at fault
	Pointer        string        `json:"pointer,omitempty"`   // into the body, to what is at fault (RFC 6901, as a fragment)
	Line           int           `json:"line,omitempty"`      // of a definition in the body, from 1
	Column         int           `json:"column,omitempty"`
	CurrentVersion *twin.Version `json:"currentVersion,omitempty"`
	// Of a request with many lines: how many were taken, how many not and why.
	Accepted int         `json:"accepted,omitempty"`
	Rejected int         `json:"rejected,omitempty"`
	Errors   []lineError `json:"errors,omitempty"`

	slug string
}

func (p *problem) Error() string { return p.Detail }

// Gone is the error for what was there and has expired (410). detail says what can be done.
func Gone(detail string) error { return &problem{slug: slugGone, Detail: detail} }

// The last part of the problem types; each has a page, see pages.
const (
	slugInvalid         = "invalid-request"
	slugUnauthenticated = "unauthenticated"
	slugDenied          = "denied"
	slugNotFound        = "not-found"
	slugRoute           = "no-such-route"
	slugMethod          = "method-not-allowed"
	slugConflict        = "conflict"
	slugVersion         = "version-conflict"
	slugGone            = "gone"
	slugTooLarge        = "too-large"
	slugMediaType       = "unsupported-media-type"
	slugEncoding        = "not-utf-8"
	slugThrottled       = "too-many-requests"
	slugUnavailable     = "unavailable"
	slugFull            = "full"
	slugInternal        = "internal-error"
)

// page is what a problem type means; it is served at its own address, so that the
// type can be looked up without leaving the server.
type page struct {
	status int
	title  string
	text   string
}

func pages(slug string) (page, bool) {
	p, ok := map[string]page{
		slugInvalid:         {400, "Request is not valid", "The request breaks a rule; detail says which one and where. Sending it again unchanged fails again."},
		slugUnauthenticated: {401, "Caller is not known", "The request carries no valid credentials."},
		slugDenied:          {403, "Not allowed", "The caller may not do this."},
		slugNotFound:        {404, "Not found", "There is nothing of this name: see the detail. The first update of a shadow creates it; a deleted shadow is gone until then."},
		slugRoute:           {404, "Nothing is served here", "No route of this server has that path. Check the address."},
		slugMethod:          {405, "Method is not served here", "The path exists but not with this method; the Allow header lists those that do."},
		slugConflict:        {409, "Request conflicts with the current state", "Read the twin again and repeat the request on what you find."},
		slugGone:            {410, "Has expired", "What is asked for was there and has expired. A stream that is this far behind has missed events: read the current states, then start it again without a position."},
		slugVersion:         {412, "Twin has changed", "If-Match named a version that is not the current one; currentVersion is. Read the twin, decide again, and send the request with the new version."},
		slugTooLarge:        {413, "Too large", "The request, or the shadow it would make, is over a size limit. The limit of a shadow counts desired plus reported as compact JSON: setting shadow.document_bytes_max."},
		slugMediaType:       {415, "Media type is not supported", "A PATCH takes a JSON merge patch (RFC 7396) with Content-Type application/merge-patch+json or application/json."},
		slugEncoding:        {415, "Not UTF-8", "JSON must be UTF-8 (RFC 8259 section 8.1)."},
		slugThrottled:       {429, "Too many requests", "This caller or thing has too many unanswered requests. Wait as long as Retry-After says."},
		slugUnavailable:     {503, "Not available", "The server is stopping or its store has failed. Whether the request took effect is not known: read the twin before you repeat it, or repeat it with the same Idempotency-Key."},
		slugFull:            {507, "Full", "A queue or the disk is full; nothing was changed. Try again later, and look at /readyz."},
		slugInternal:        {500, "Internal error", "The server failed; its log has a line with the requestId."},
	}[slug]
	return p, ok
}

// slugOf is the one map from kinds of error to problems.
func slugOf(kind twin.ErrorKind) string {
	switch kind {
	case twin.KindInvalid:
		return slugInvalid
	case twin.KindUnauthenticated:
		return slugUnauthenticated
	case twin.KindDenied:
		return slugDenied
	case twin.KindNotFound:
		return slugNotFound
	case twin.KindConflict:
		return slugConflict
	case twin.KindTooLarge:
		return slugTooLarge
	case twin.KindEncoding:
		return slugEncoding
	case twin.KindThrottled:
		return slugThrottled
	case twin.KindUnavailable:
		return slugUnavailable
	case twin.KindFull:
		return slugFull
	}
	return slugInternal
}

// problemOf turns any error into a problem. The text of an error that nobody
// classified stays in the log.
func problemOf(err error) *problem {
	var p *problem
	var tooLong *http.MaxBytesError
	switch {
	case errors.As(err, &p):
	case errors.As(err, &tooLong):
		p = &problem{slug: slugTooLarge, Detail: "the request body is longer than " + strconv.FormatInt(tooLong.Limit, 10) + " bytes"}
	default:
		p = &problem{slug: slugOf(twin.Kind(err)), Detail: twin.ErrorMessage(err)}
	}
	about, _ := pages(p.slug)
	p.Type, p.Title, p.Status = "/problems/"+p.slug, about.title, about.status
	return p
}

// retryAfterSeconds is what a caller is told to wait when the server is busy.
const retryAfterSeconds = "1"

func (p *problem) write(w http.ResponseWriter) {
	h := w.Header()
	h.Set("Content-Type", "application/problem+json")
	h.Set("Cache-Control", "no-store")
	h.Del("ETag")
	switch p.Status {
	case http.StatusTooManyRequests, http.StatusServiceUnavailable, http.StatusInsufficientStorage:
		h.Set("Retry-After", retryAfterSeconds)
	}
	b, err := marshal(p)
	if err != nil {
		panic("problem document: " + err.Error()) // strings and numbers always marshal
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(b) // the client may be gone
}

// servePage shows what a problem type means.
func servePage(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	p, ok := pages(r.PathValue("name"))
	if !ok {
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte("no such problem type\n"))
		return
	}
	_, _ = w.Write([]byte(strconv.Itoa(p.status) + " " + p.title + "\n\n" + p.text + "\n"))
}
