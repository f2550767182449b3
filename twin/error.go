package twin

import "errors"

// ErrorKind says what sort of failure an error is. Each door has one map from
// kind to its own status.
type ErrorKind uint8

// The kinds. KindInternal is the zero value, so an error nobody classified is
// internal and its text is not shown to a client.
const (
	KindInternal        ErrorKind = iota
	KindInvalid                   // the request is malformed: 400
	KindUnauthenticated           // nobody knows who asks: 401
	KindDenied                    // the caller may not do this: 403
	KindNotFound                  // no such shadow or thing: 404
	KindConflict                  // the version asked for is not the current one: 409
	KindTooLarge                  // over a size limit: 413
	KindEncoding                  // not UTF-8: 415
	KindThrottled                 // too many requests of one caller: 429
	KindUnavailable               // stopping, fenced after an I/O error, or a commit of unknown outcome: 503
	KindFull                      // a bounded queue or the disk is full: 507
)

// String returns the kind as it is shown.
func (k ErrorKind) String() string {
	names := [...]string{
		"internal", "invalid", "unauthenticated", "denied", "not found", "conflict",
		"too large", "encoding", "throttled", "unavailable", "full",
	}
	if int(k) < len(names) {
		return names[k]
	}
	return "unknown"
}

// Error is a failure with a kind and a message that may be shown to the client.
type Error struct {
	Kind    ErrorKind
	Message string // shown to clients, the exact AWS text where the contract has one
	Hint    string // what an operator can do, optional
	Err     error  // cause, for the log only
}

// Error returns the message, the hint and the cause.
func (e *Error) Error() string {
	s := e.Message
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// NewError returns an [Error] of a kind with a message for the client.
func NewError(kind ErrorKind, message string) *Error {
	return &Error{Kind: kind, Message: message}
}

// Kind returns the kind of err, [KindInternal] for errors that are not ours.
func Kind(err error) ErrorKind {
	var e *Error
	if errors.As(err, &e) {
		return e.Kind
	}
	return KindInternal
}

// ErrorMessage returns the text of err that a client may see: that of the [Error] in
// it, or "Internal service failure".
func ErrorMessage(err error) string {
	var e *Error
	if errors.As(err, &e) && e.Kind != KindInternal {
		return e.Message
	}
	return "Internal service failure"
}
