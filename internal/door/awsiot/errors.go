package awsiot

import (
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// Status is how an error kind is told: the code in an MQTT rejection and of the
// HTTP answer, and the class of the AWS SDKs.
type Status struct {
	Code int
	Type string // of the x-amzn-ErrorType header, without the colon
}

// StatusOf is the one map from error kind to status.
//
// Source: the service model of iot-data and the guide's "Device Shadow error
// messages". AWS has no 507: a full queue or disk is its modelled
// ServiceUnavailableException, which every SDK retries with back-off, where an
// unknown 507 would be given up. In MQTT rejections AWS documents 503 for HTTP
// only; it is used there too, since 500 would hide that a retry helps.
func StatusOf(kind twin.ErrorKind) Status {
	switch kind {
	case twin.KindInvalid:
		return Status{http.StatusBadRequest, "InvalidRequestException"}
	case twin.KindUnauthenticated:
		return Status{http.StatusUnauthorized, "UnauthorizedException"}
	case twin.KindDenied:
		return Status{http.StatusForbidden, "ForbiddenException"}
	case twin.KindNotFound:
		return Status{http.StatusNotFound, "ResourceNotFoundException"}
	case twin.KindConflict:
		return Status{http.StatusConflict, "ConflictException"}
	case twin.KindTooLarge:
		return Status{http.StatusRequestEntityTooLarge, "RequestEntityTooLargeException"}
	case twin.KindEncoding:
		return Status{http.StatusUnsupportedMediaType, "UnsupportedDocumentEncodingException"}
	case twin.KindThrottled:
		return Status{http.StatusTooManyRequests, "ThrottlingException"}
	case twin.KindUnavailable, twin.KindFull:
		return Status{http.StatusServiceUnavailable, "ServiceUnavailableException"}
	case twin.KindInternal:
	}
	return Status{http.StatusInternalServerError, "InternalFailureException"}
}

var (
	errTooLarge  = twin.NewError(twin.KindTooLarge, "The payload exceeds the maximum size allowed")
	errThrottled = twin.NewError(twin.KindThrottled, "Too many requests")
	errStopping  = twin.NewError(twin.KindUnavailable, "The server is stopping; try again")
	errGetsFull  = twin.NewError(twin.KindFull, "Too many get requests wait for an answer; try again")
)

// ackable reports whether a request that ended so has been dealt with: accepted,
// or refused for a reason that sending the same packet again will not change.
// Otherwise its PUBLISH must not be acknowledged as a success.
func ackable(err error) bool {
	if err == nil {
		return true
	}
	switch twin.Kind(err) {
	case twin.KindInternal, twin.KindUnavailable, twin.KindFull:
		return false
	case twin.KindInvalid, twin.KindUnauthenticated, twin.KindDenied, twin.KindNotFound,
		twin.KindConflict, twin.KindTooLarge, twin.KindEncoding, twin.KindThrottled:
	}
	return true
}

// appendRejected appends the body of a rejected message. It has no timestamp: no
// capture of the real service has one.
func appendRejected(dst []byte, err error, req *twin.Request) []byte {
	dst = append(dst, `{"code":`...)
	dst = strconv.AppendInt(dst, int64(StatusOf(twin.Kind(err)).Code), 10)
	dst = append(dst, `,"message":`...)
	dst = appendQuoted(dst, twin.ErrorMessage(err))
	if req != nil && req.HasToken {
		dst = append(dst, `,"clientToken":`...)
		dst = appendQuoted(dst, req.ClientToken)
	}
	return append(dst, '}')
}

func appendQuoted(dst []byte, s string) []byte {
	q, err := json.Marshal(s)
	if err != nil {
		panic("awsiot: a string has a JSON form: " + err.Error())
	}
	return append(dst, q...)
}
