package webhook

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of a request.
const (
	dialTimeout        = 5 * time.Second
	answerBytesMax     = 4 << 10  // that are read of an answer, to use the connection again
	answerHeadBytesMax = 16 << 10 // of its headers
	idleConnsMax       = 100
)

// sender makes requests.
type sender struct {
	client  *http.Client
	now     func() time.Time
	timeout time.Duration
}

func newSender(g *Guard, roots *x509.CertPool, now func() time.Time, timeout time.Duration) *sender {
	return &sender{
		now: now, timeout: timeout,
		client: &http.Client{
			Transport: &http.Transport{
				Proxy:                  nil, // a proxy would dial what we may not
				DialContext:            g.dial,
				TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots},
				TLSHandshakeTimeout:    dialTimeout,
				MaxResponseHeaderBytes: answerHeadBytesMax,
				MaxIdleConns:           idleConnsMax,
				MaxIdleConnsPerHost:    1,
				IdleConnTimeout:        30 * time.Second,
				DisableCompression:     true, // a small answer could unpack to a large one
				ForceAttemptHTTP2:      true,
			},
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

func (s *sender) close() { s.client.CloseIdleConnections() }

// sendError is a try that failed.
type sendError struct {
	text  string
	after time.Duration // that the receiver asks us to wait; 0: it does not
}

// reason is empty for a try that did not fail.
func (e *sendError) reason() string {
	if e == nil {
		return ""
	}
	return e.text
}

// send makes one try; nil means that the receiver answered 2xx.
func (s *sender) send(ctx context.Context, to string, key []byte, id string, body []byte) *sendError {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, to, bytes.NewReader(body))
	if err != nil {
		return &sendError{text: "the address is no URL"}
	}
	at := strconv.FormatInt(s.now().Unix(), 10)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "twofold-webhook")
	req.Header.Set("Webhook-Id", id)
	req.Header.Set("Webhook-Timestamp", at)
	req.Header.Set("Webhook-Signature", Sign(key, id, at, body))
	res, err := s.client.Do(req)
	if err != nil {
		return &sendError{text: s.reason(err)}
	}
	_, _ = io.CopyN(io.Discard, res.Body, answerBytesMax) // what it says does not matter
	_ = res.Body.Close()
	switch {
	case res.StatusCode >= 200 && res.StatusCode <= 299:
		return nil
	case res.StatusCode >= 300 && res.StatusCode <= 399:
		return &sendError{text: fmt.Sprintf("answered %d: redirects are not followed; give the new address", res.StatusCode)}
	}
	e := &sendError{text: fmt.Sprintf("answered %d", res.StatusCode)}
	if n, err := strconv.Atoi(res.Header.Get("Retry-After")); err == nil && n > 0 && n < 1<<31 {
		e.after = time.Duration(n) * time.Second
	}
	return e
}

// reason is what an operator has to know of a failure, without the address, which may hold
// a secret.
func (s *sender) reason(err error) string {
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Sprintf("no answer within %s", s.timeout)
	}
	return clip(err.Error())
}

// errorBytesMax is how long a text of an error is kept.
const errorBytesMax = 300

func clip(text string) string {
	if len(text) > errorBytesMax {
		return strings.ToValidUTF8(text[:errorBytesMax], "") + "…"
	}
	return text
}

// Sign returns the signature of a request as Standard Webhooks has it: HMAC-SHA256 of id,
// timestamp and body with dots between them.
func Sign(key []byte, id, timestamp string, body []byte) string {
	mac := hmac.New(sha256.New, key)
	_, _ = io.WriteString(mac, id+"."+timestamp+".") // a hash does not fail
	_, _ = mac.Write(body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}
