package rest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Limits of telemetry in bulk. Memory is that of a line and two batches, however long
// the body is.
const (
	bulkBytesMax     = 256 << 20
	bulkLineBytesMax = 64 << 10
	bulkRowsMax      = 1000 // of a batch
	bulkValuesMax    = 10_000
	bulkInFlightMax  = 2 // batches: while one is synced the next is read
	// While the queue is full the body is not read on; after bulkPatience that is an
	// error.
	bulkPatience = 10 * time.Second
	bulkRetry    = 5 * time.Millisecond
	// bulkIdle is how long nothing may arrive; the body as a whole may take as long as it
	// takes.
	bulkIdle = 30 * time.Second
	bulkMove = time.Second // the least time between two moves of the deadlines
)

// bulk is a request with telemetry of many things, line by line.
type bulk struct {
	door  *door
	ctx   context.Context //nolint:containedctx // it lives as long as one request
	conn  *http.ResponseController
	moved time.Time // when the deadlines of the connection were

	line   int // that is read, from 1
	result telemetryResult

	rows   []twin.Row         // of the batch
	values []twin.Measurement // of rows that have no memory of their own
	count  int                // of values in rows
	good   int                // lines in the batch

	flights []flight // the batches on their way, in order
	stored  int      // every line up to this one is on disk, or rejected
	failed  bool     // a batch is not on disk; later ones may be
}

// flight is a batch on its way to the disk.
type flight struct {
	good, line int // how many lines it is of, and the last
	done       chan error
}

// postTelemetryBulk takes lines and answers when what is good in them is on disk.
func (d *door) postTelemetryBulk(w http.ResponseWriter, r *http.Request) error {
	mediaType, err := bodyType(r, typeJSON, typeNDJSON, typeCSV)
	if err != nil {
		return err
	}
	b := &bulk{
		door: d, ctx: r.Context(), conn: http.NewResponseController(w),
		rows: make([]twin.Row, 0, bulkRowsMax), values: make([]twin.Measurement, 0, bulkValuesMax+twin.TelemetryKeysMax),
	}
	b.progress()
	body := bufio.NewReaderSize(http.MaxBytesReader(w, r.Body, bulkBytesMax), bulkLineBytesMax)
	read := map[string]func(*bufio.Reader) error{typeJSON: b.readJSON, typeNDJSON: b.readLines, typeCSV: b.readCSV}[mediaType]
	err = b.finish(read(body))
	switch {
	case err != nil:
		return b.stopped(err)
	case b.result.Accepted == 0 && b.result.Rejected > 0:
		first := b.result.Errors[0]
		return &problem{
			slug: slugInvalid, Detail: fmt.Sprintf("none of %d lines is accepted; line %d: %s", b.result.Rejected, first.Line, first.Message),
			Rejected: b.result.Rejected, Errors: b.result.Errors,
		}
	}
	return writeJSON(w, b.result)
}

// progress moves the deadlines of the connection: something has arrived.
func (b *bulk) progress() {
	now := time.Now()
	if now.Sub(b.moved) < bulkMove {
		return
	}
	b.moved = now
	_ = b.conn.SetReadDeadline(now.Add(bulkIdle)) // not every writer has them
	_ = b.conn.SetWriteDeadline(now.Add(2 * bulkIdle))
}

// stopped says how far a request came that cannot go on.
func (b *bulk) stopped(err error) error {
	if b.line <= 1 && b.result.Rejected == 0 {
		return err // nothing came of it
	}
	p := problemOf(err)
	return fmt.Errorf("%w: %w", &problem{
		slug: p.slug, Accepted: b.result.Accepted, Rejected: b.result.Rejected, Errors: b.result.Errors,
		Detail: fmt.Sprintf("stopped at line %d: %s; everything up to line %d is done, go on with the next", b.line, p.Detail, b.stored),
	}, err) // the cause is for the log
}

func (b *bulk) reject(pointer, message string) {
	b.result.Rejected++
	if len(b.result.Errors) < lineErrorsMax {
		b.result.Errors = append(b.result.Errors, lineError{Line: b.line, Pointer: pointer, Message: message})
	}
}

// point takes a line that is a JSON object with its thing.
func (b *bulk) point(line []byte) error {
	rules := b.door.opts.TelemetryRules
	rules.NamesThing = true
	rows, err := twin.ParseTelemetry(line, twin.TimeOf(b.door.opts.Now()), rules)
	if err != nil {
		var fault *twin.TelemetryError
		pointer := ""
		if errors.As(err, &fault) {
			pointer = fault.Pointer
		}
		b.reject(pointer, twin.ErrorMessage(err))
		return nil
	}
	if err := b.door.admit(rows...); err != nil {
		b.reject("", twin.ErrorMessage(err))
		return nil
	}
	b.good++
	for i := range rows {
		b.rows = append(b.rows, rows[i])
		b.count += len(rows[i].Values)
	}
	return b.flushIfFull()
}

func (b *bulk) flushIfFull() error {
	if len(b.rows) < bulkRowsMax && b.count < bulkValuesMax {
		return nil
	}
	return b.flush()
}

// flush hands the batch over, and waits for an earlier one if too many are on their
// way.
func (b *bulk) flush() error {
	if len(b.flights) == bulkInFlightMax {
		if err := b.settle(); err != nil {
			return err
		}
	}
	f := flight{good: b.good, line: b.line, done: make(chan error, 1)}
	if err := b.ingest(func(err error) { f.done <- err }); err != nil {
		return err
	}
	b.flights = append(b.flights, f)
	b.rows, b.values, b.count, b.good = b.rows[:0], b.values[:0], 0, 0
	return nil
}

// finish waits until all is on disk.
func (b *bulk) finish(err error) error {
	if err == nil && len(b.rows) > 0 {
		err = b.flush()
	}
	for len(b.flights) > 0 {
		err = errors.Join(err, b.settle())
	}
	if err == nil {
		b.result.Accepted += b.good // lines with nulls only
	}
	return err
}

// ingest waits as long as the queue is full, so that a fast sender is slowed down.
func (b *bulk) ingest(done func(error)) error {
	var patience, retry *time.Timer
	for {
		err := b.door.opts.Telemetry.Ingest(b.rows, true, done)
		if twin.Kind(err) != twin.KindFull || err == nil {
			return err
		}
		if patience == nil {
			patience, retry = time.NewTimer(bulkPatience), time.NewTimer(bulkRetry)
			defer patience.Stop()
			defer retry.Stop()
		} else {
			retry.Reset(bulkRetry)
		}
		select {
		case <-retry.C:
		case <-patience.C:
			return err
		case <-b.ctx.Done():
			return errNotKnown(b.ctx)
		}
	}
}

// settle waits for the outcome of the oldest batch.
func (b *bulk) settle() error {
	f := b.flights[0]
	b.flights = b.flights[1:]
	var err error
	select {
	case err = <-f.done:
	case <-b.ctx.Done():
		err = errNotKnown(b.ctx)
	}
	if err != nil {
		b.failed = true
		return err
	}
	b.result.Accepted += f.good
	if !b.failed {
		b.stored = f.line
	}
	return nil
}

// nextLine returns the next line that is not empty, without its end; io.EOF after the
// last. One that is too long is rejected and passed over.
func (b *bulk) nextLine(body *bufio.Reader) ([]byte, error) {
	for {
		line, err := body.ReadSlice('\n')
		b.line++
		b.progress()
		if errors.Is(err, bufio.ErrBufferFull) {
			for errors.Is(err, bufio.ErrBufferFull) {
				_, err = body.ReadSlice('\n')
			}
			b.reject("", fmt.Sprintf("the line is longer than %d bytes", bulkLineBytesMax))
			line = nil
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, readError(err)
		}
		if b.line == 1 {
			line = bytes.TrimPrefix(line, []byte("\ufeff")) // a byte order mark
		}
		if line = bytes.TrimSpace(line); len(line) > 0 {
			return line, nil
		}
		if err != nil {
			b.line--
			return nil, io.EOF
		}
	}
}

func (b *bulk) readLines(body *bufio.Reader) error {
	for {
		line, err := b.nextLine(body)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if err := b.point(line); err != nil {
			return err
		}
	}
}

// readJSON takes an array of points, or one point. Where the array is no JSON any more
// the rest cannot be read; all else is a fault of one element.
func (b *bulk) readJSON(body *bufio.Reader) error {
	b.line = 1
	first, err := firstByte(body)
	if err != nil {
		return readError(err)
	}
	limited := &allowance{r: body, left: bulkLineBytesMax}
	dec := json.NewDecoder(limited)
	if first == '[' {
		if _, err := dec.Token(); err != nil {
			return readError(err)
		}
	}
	var element json.RawMessage
	for ; first != '[' || dec.More(); b.line++ {
		if err := dec.Decode(&element); err != nil {
			return b.lost(err)
		}
		if err := b.point(element); err != nil {
			return err
		}
		limited.left = bulkLineBytesMax
		b.progress()
		if first != '[' {
			return b.ended(dec)
		}
	}
	if _, err := dec.Token(); err != nil {
		return b.lost(err)
	}
	return b.ended(dec)
}

func firstByte(body *bufio.Reader) (byte, error) {
	for {
		c, err := body.ReadByte()
		if errors.Is(err, io.EOF) {
			return 0, nil // the decoder will say so
		}
		if err != nil {
			return 0, err
		}
		if c != ' ' && c != '\t' && c != '\r' && c != '\n' {
			return c, body.UnreadByte()
		}
	}
}

// lost rejects the element that is not JSON, and with it what follows.
func (b *bulk) lost(err error) error {
	if p := problemOf(err); p.slug == slugTooLarge {
		return p
	}
	switch {
	case errors.Is(err, errAllowance):
		b.reject("", fmt.Sprintf("the element is longer than %d bytes; what follows is not read", bulkLineBytesMax))
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		b.reject("", "the body ends before the JSON value does")
	default:
		b.reject("", "it is not valid JSON: "+err.Error()+"; what follows is not read")
	}
	return nil
}

// ended makes sure that nothing follows.
func (b *bulk) ended(dec *json.Decoder) error {
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		b.line++
		b.reject("", "there is more after the JSON value; for one object per line the Content-Type is "+typeNDJSON)
	}
	return nil
}

var errAllowance = errors.New("longer than allowed")

// allowance bounds what is read until it is renewed.
type allowance struct {
	r    io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errAllowance
	}
	n, err := a.r.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}
