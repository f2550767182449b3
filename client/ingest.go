package client

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// IngestMax is the most documents of one call of [Client.IngestDocuments].
const IngestMax = 1000

// What became of an ingested document.
const (
	IngestApplied  = "applied"  // it is the current state now
	IngestRecorded = "recorded" // it, or its previous, is history: a newer state was there
	IngestKnown    = "known"    // it had come before; nothing was written
	IngestFailed   = "failed"   // Problem says why
)

// IngestResult is what became of one document.
type IngestResult struct {
	DeviceID twin.ThingName  `json:"deviceId"`
	Shadow   twin.ShadowName `json:"shadow"`
	Version  twin.Version    `json:"version"`
	Result   string          `json:"result"`
	Problem  *Error          `json:"problem"` // of a document that failed
}

// IngestDocuments hands over update/documents messages of AWS shadows, at most [IngestMax], and
// returns what became of each, in their order. Each has members thing, and for a named
// shadow shadow, beside what AWS publishes, unless key names them. A document has one effect
// however often it is sent, so after an error the same call can be made again.
//
// A document that is refused makes no error here: its result says [IngestFailed].
func (c *Client) IngestDocuments(ctx context.Context, key twin.ShadowKey, documents []json.RawMessage) ([]IngestResult, error) {
	path := "/api/v1/ingest/shadow-documents"
	if key.Thing != "" {
		path += "/" + url.PathEscape(string(key.Thing))
	}
	if key.Shadow != "" {
		path += "/" + url.PathEscape(string(key.Shadow))
	}
	// As they are: json.Marshal would write < and others in texts as escapes, and the server keeps
	// texts as they come.
	body := append([]byte{'['}, bytes.Join(asBytes(documents), []byte{','})...)
	body = append(body, ']')
	a, err := c.do(ctx, http.MethodPost, path, http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Results []IngestResult `json:"results"`
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	if len(answer.Results) != len(documents) {
		return nil, fmt.Errorf("the answer to %s has %d results for %d documents", a.request, len(answer.Results), len(documents))
	}
	return answer.Results, nil
}

func asBytes(documents []json.RawMessage) [][]byte {
	list := make([][]byte, len(documents))
	for i, d := range documents {
		list[i] = d
	}
	return list
}

// Confirmation is what AWS IoT asks before it sends anything to an HTTP destination: that
// somebody opens EnableURL.
type Confirmation struct {
	ARN       string    `json:"arn"`
	EnableURL string    `json:"enableUrl"`
	Received  time.Time `json:"received"`
	State     string    `json:"state"` // waiting, confirmed or failed
	Error     string    `json:"error"`
}

// Confirmations lists the confirmations that AWS IoT has asked for since the server
// started, newest first.
func (c *Client) Confirmations(ctx context.Context) ([]Confirmation, error) {
	a, err := c.do(ctx, http.MethodGet, "/api/v1/ingest/confirmations", nil, nil)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Confirmations []Confirmation `json:"confirmations"`
	}
	if err := json.Unmarshal(a.body, &answer); err != nil {
		return nil, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return answer.Confirmations, nil
}
