package client

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"

	"github.com/twofold-iot/twofold/twin"
)

// TelemetryResult is what became of telemetry: how many points or lines are on disk,
// and how many were refused.
type TelemetryResult struct {
	Accepted int         `json:"accepted"`
	Rejected int         `json:"rejected"`
	Errors   []LineError `json:"errors,omitempty"` // the first of them
}

// LineError says what is wrong with a line.
type LineError struct {
	Line    int    `json:"line"`              // from 1
	Pointer string `json:"pointer,omitempty"` // into the line (RFC 6901)
	Message string `json:"message"`
}

// SendTelemetry adds samples of a thing: a JSON object of values, optionally with "ts",
// or an array of such. It is all or nothing.
func (c *Client) SendTelemetry(ctx context.Context, thing twin.ThingName, points json.RawMessage) (*TelemetryResult, error) {
	res := &TelemetryResult{}
	_, err := c.send(ctx, http.MethodPost, twinPath(thing, "/telemetry", ""), points, res)
	return res, err
}

// TelemetryFormat is the media type of telemetry in lines.
type TelemetryFormat string

// The formats. NDJSON has an object per line with "thing", maybe "ts", and values; CSV
// has the header thing,ts,metric,value or thing,ts and a column per metric.
const (
	NDJSON TelemetryFormat = "application/x-ndjson"
	CSV    TelemetryFormat = "text/csv"
	// Parquet is for reading only.
	Parquet TelemetryFormat = "application/vnd.apache.parquet"
)

// SendTelemetryLines adds samples of many things in one request. Lines that are wrong
// are in the result, and no error. After an error what the result says is on disk.
func (c *Client) SendTelemetryLines(ctx context.Context, format TelemetryFormat, lines []byte) (*TelemetryResult, error) {
	a, err := c.do(ctx, http.MethodPost, "/api/v1/telemetry", http.Header{"Content-Type": {string(format)}}, lines)
	var refused *Error
	if errors.As(err, &refused) {
		res := &TelemetryResult{Accepted: refused.Accepted, Rejected: refused.Rejected, Errors: refused.Errors}
		if refused.Status == http.StatusBadRequest && refused.Rejected > 0 {
			return res, nil // all lines are wrong
		}
		return res, err
	}
	res := &TelemetryResult{}
	if err != nil {
		return res, err
	}
	if err := json.Unmarshal(a.body, res); err != nil {
		return res, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return res, nil
}

// Limits of an import.
const (
	importBytes     = 2 << 20 // of a request, about
	importLines     = 20_000
	importLineBytes = 64<<10 + 2 // of a line; what is longer is cut, and refused by the server
	importErrorsMax = 100
)

// ImportTelemetry adds samples of many things from lines without end, in requests of
// some thousand lines. progress, if not nil, is called after each with what became of
// all lines so far. After an error what the result says is on disk, and everything up
// to the line that the error names is done.
func (c *Client) ImportTelemetry(ctx context.Context, format TelemetryFormat, lines io.Reader, progress func(*TelemetryResult)) (*TelemetryResult, error) {
	im := &telemetryImport{client: c, format: format, in: bufio.NewReaderSize(lines, importLineBytes), total: &TelemetryResult{}}
	if format == CSV {
		if err := im.header(); err != nil {
			return im.total, err
		}
	}
	for {
		more, err := im.fill()
		if err != nil {
			return im.total, fmt.Errorf("read line %d: %w", im.line+1, err)
		}
		if im.count > 0 {
			if err := im.send(ctx); err != nil {
				return im.total, err
			}
			if progress != nil {
				progress(im.total)
			}
		}
		if !more {
			return im.total, nil
		}
	}
}

// telemetryImport is an import under way.
type telemetryImport struct {
	client *Client
	format TelemetryFormat
	in     *bufio.Reader
	head   []byte // of a CSV, with which each request begins
	line   int    // that was read last
	total  *TelemetryResult

	body  []byte // of the next request
	count int    // lines in it, empty ones too
}

// next returns the next line with its end.
func (im *telemetryImport) next() (line []byte, more bool, err error) {
	line, err = im.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		line = append(bytes.Clone(line), '\n')
		for errors.Is(err, bufio.ErrBufferFull) {
			_, err = im.in.ReadSlice('\n')
		}
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, false, err
	}
	return line, err == nil, nil
}

// header reads the first line that is not empty.
func (im *telemetryImport) header() error {
	for {
		line, more, err := im.next()
		if err != nil {
			return fmt.Errorf("read the header: %w", err)
		}
		if len(line) > 0 {
			im.line++
		}
		if len(bytes.TrimSpace(line)) > 0 {
			im.head = append(bytes.TrimRight(line, "\r\n"), '\n')
			im.head = bytes.Clone(im.head)
			return nil
		}
		if !more {
			return errors.New("there is nothing in it; a CSV begins with a header such as thing,ts,metric,value")
		}
	}
}

// fill reads the lines of the next request.
func (im *telemetryImport) fill() (more bool, err error) {
	im.body, im.count = append(im.body[:0], im.head...), 0
	for more = true; more && im.count < importLines && len(im.body) < importBytes; {
		var line []byte
		if line, more, err = im.next(); err != nil {
			return false, err
		}
		if len(line) > 0 {
			im.body = append(im.body, line...)
			im.count++
		}
	}
	return more, nil
}

func (im *telemetryImport) send(ctx context.Context) error {
	res, err := im.client.SendTelemetryLines(ctx, im.format, im.body)
	im.total.Accepted += res.Accepted
	im.total.Rejected += res.Rejected
	before := im.line
	if len(im.head) > 0 {
		before-- // the header was line 1 of the request
	}
	for _, e := range res.Errors {
		if e.Line += before; len(im.total.Errors) < importErrorsMax {
			im.total.Errors = append(im.total.Errors, e)
		}
	}
	if status(err) == http.StatusBadRequest {
		return err // it is about the header
	}
	if err != nil {
		return fmt.Errorf("lines %d to %d: %w", im.line+1, im.line+im.count, err)
	}
	im.line += im.count
	return nil
}
