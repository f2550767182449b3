package rest

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Telemetry takes samples.
type Telemetry interface {
	// Ingest queues rows, in order. With durable set done is called when they are
	// synced, else before the return. It never blocks: a full queue is an error of kind
	// KindFull, and then done is not called. The rows may be used again after the return.
	Ingest(rows []twin.Row, durable bool, done func(error)) error
}

// Limits of telemetry.
const (
	telemetryBytesMax = 1 << 20 // of one message
	lineErrorsMax     = 100     // that are listed; all are counted
)

// The media types in which telemetry of many things comes.
const (
	typeJSON   = "application/json"
	typeNDJSON = "application/x-ndjson"
	typeCSV    = "text/csv"
)

// telemetryResult is what became of telemetry: of points, or of the lines of a bulk
// request. What is accepted is on disk.
type telemetryResult struct {
	Accepted int         `json:"accepted"`
	Rejected int         `json:"rejected"`
	Errors   []lineError `json:"errors,omitempty"` // the first 100
}

// lineError says what is wrong with a line.
type lineError struct {
	Line    int    `json:"line"`              // from 1; of a JSON array, the element
	Pointer string `json:"pointer,omitempty"` // into the line (RFC 6901)
	Message string `json:"message"`
}

func (d *door) telemetryRoutes() []route {
	return []route{
		{
			method: "POST", path: "/api/v1/twins/{id}/telemetry", name: "postTelemetry", summary: "Add samples of a thing: an object of values, optionally with ts, or an array of such",
			body: json.RawMessage{}, answer: telemetryResult{}, handler: d.postTelemetry,
		}, {
			method: "POST", path: "/api/v1/telemetry", name: "postTelemetryBulk", summary: "Add samples of many things, line by line: what is wrong with one line does not stop the others",
			body: json.RawMessage{}, bodyTypes: []string{typeJSON, typeNDJSON, typeCSV}, answer: telemetryResult{}, handler: d.postTelemetryBulk,
		},
	}
}

// postTelemetry takes one message as a device would send it. It is all or nothing.
func (d *door) postTelemetry(w http.ResponseWriter, r *http.Request) error {
	key, err := keyOf(r)
	if err != nil {
		return err
	}
	if _, err := bodyType(r, typeJSON); err != nil {
		return err
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, telemetryBytesMax))
	if err != nil {
		return readError(err)
	}
	rows, err := twin.ParseTelemetry(body, twin.TimeOf(d.opts.Now()), d.opts.TelemetryRules)
	if err != nil {
		return telemetryProblem(err)
	}
	for i := range rows {
		rows[i].Thing = key.Thing
	}
	if err := d.admit(rows...); err != nil {
		return err
	}
	if len(rows) > 0 { // else there were nulls only
		if err := d.keep(r.Context(), rows); err != nil {
			return err
		}
	}
	return writeJSON(w, telemetryResult{Accepted: len(rows)})
}

func (d *door) admit(rows ...twin.Row) error {
	if d.opts.Admit == nil || len(rows) == 0 {
		return nil
	}
	return d.opts.Admit(rows)
}

// keep waits until rows are on disk.
func (d *door) keep(ctx context.Context, rows []twin.Row) error {
	done := make(chan error, 1)
	if err := d.opts.Telemetry.Ingest(rows, true, func(err error) { done <- err }); err != nil {
		return err
	}
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return errNotKnown(ctx)
	}
}

func telemetryProblem(err error) error {
	var fault *twin.TelemetryError
	if !errors.As(err, &fault) {
		return err
	}
	p := &problem{slug: slugOf(twin.Kind(err)), Detail: twin.ErrorMessage(err)}
	if fault.Pointer != "" {
		p.Pointer = "#" + fault.Pointer
	}
	return p
}

// bodyType returns the media type of a request, which must be one of some; the first
// is assumed if there is none.
func bodyType(r *http.Request, types ...string) (string, error) {
	header := r.Header.Get("Content-Type")
	if header == "" {
		return types[0], nil
	}
	have, _, err := mime.ParseMediaType(header)
	if err == nil {
		for _, t := range types {
			if have == t {
				return t, nil
			}
		}
	}
	return "", &problem{slug: slugMediaType, Detail: fmt.Sprintf("Content-Type %.80q is not %s", header, strings.Join(types, ", "))}
}
