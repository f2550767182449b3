package client

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"

	"github.com/twofold-iot/twofold/twin"
)

// Error is a refusal by the server: its problem document (RFC 9457).
type Error struct {
	Type           string       `json:"type"`
	Title          string       `json:"title"`
	Status         int          `json:"status"`
	Detail         string       `json:"detail"`
	Instance       string       `json:"instance"`
	RequestID      string       `json:"requestId"`      // greps in the server's log
	CurrentVersion twin.Version `json:"currentVersion"` // of a version conflict, 0 if the shadow does not exist

	// Of a request with many lines: see [TelemetryResult].
	Accepted int         `json:"accepted"`
	Rejected int         `json:"rejected"`
	Errors   []LineError `json:"errors"`
}

// Error says what was refused and why.
func (e *Error) Error() string {
	s := e.Detail
	if s == "" {
		s = e.Title
	}
	if e.RequestID != "" {
		s += " (request " + e.RequestID + ")"
	}
	return s
}

// UnreachableError is a server that could not be asked, or an answer that did not
// arrive. After a change its outcome is not known.
type UnreachableError struct {
	Server string
	Err    error
}

// Error says which server and what happened.
func (e *UnreachableError) Error() string { return "no answer from " + e.Server + ": " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// IsNotFound reports whether the server has no such shadow.
func IsNotFound(err error) bool { return status(err) == http.StatusNotFound }

// IsConflict reports whether the shadow was not at the version asked for.
func IsConflict(err error) bool {
	s := status(err)
	return s == http.StatusPreconditionFailed || s == http.StatusConflict
}

func status(err error) int {
	var e *Error
	if errors.As(err, &e) {
		return e.Status
	}
	return 0
}

// newError reads a refusal. Something that is not a problem document came from
// something else that sits at that address, so it says what it got.
func newError(res *http.Response, body []byte) *Error {
	e := &Error{}
	mediaType, _, err := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil || mediaType != "application/problem+json" || json.Unmarshal(body, e) != nil {
		e = &Error{Title: http.StatusText(res.StatusCode), Detail: "the server answered " + res.Status + " and no reason; is it a Twofold server?"}
	}
	e.Status = res.StatusCode
	return e
}
