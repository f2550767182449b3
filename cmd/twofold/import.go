package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/proof"
	"github.com/twofold-iot/twofold/twin"
)

// Limits of an import.
const (
	importBatchMax      = 500     // states in one request
	importBatchBytesMax = 2 << 20 // from which a request takes no more
	importErrorsMax     = 100     // that are printed
)

func newImport() *cobra.Command {
	r := &remote{}
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Bring the twins of an export into a server, with their past",
		Long: "Bring the twins of a file that `twofold export` wrote into a running server: every state of every shadow with\n" +
			"its version and the times of its values, model and tags; - is standard input. What came before has no second\n" +
			"effect, so an import that broke off is simply repeated. Lines that are wrong are reported and leave the others\n" +
			"alone; then the exit code is 1. Check the file first with `twofold verify FILE`.",
		Example: "  twofold export twins.ndjson --data ./old-data\n  twofold import twins.ndjson --server http://127.0.0.1:8080",
		Args:    args(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, a []string) error {
			c, err := r.client()
			if err != nil {
				return err
			}
			in, name, size := cmd.InOrStdin(), "standard input", int64(0)
			if a[0] != "-" {
				f, err := os.Open(a[0])
				if err != nil {
					return fmt.Errorf("open the export: %w", err)
				}
				defer func() { _ = f.Close() }() // only read
				if info, err := f.Stat(); err == nil {
					size = info.Size()
				}
				in, name = f, a[0]
			}
			ctx, stop := signal.NotifyContext(cmd.Context(), os.Interrupt, syscall.SIGTERM)
			defer stop()
			im := &importer{ctx: ctx, to: c, file: name, log: cmd.ErrOrStderr()}
			im.progress = newImportLine(cmd.ErrOrStderr(), size)
			err = im.run(&countedReader{in, im.progress})
			return im.end(cmd.OutOrStdout(), err)
		},
	}
	r.addServer(cmd)
	return cmd
}

// importer brings one file in.
type importer struct {
	ctx      context.Context //nolint:containedctx // of this one command
	to       *client.Client
	file     string
	log      io.Writer
	progress *importLine

	at     *exported // the thing being read
	batch  []json.RawMessage
	lines  []int // beside batch
	bytes  int
	finals []final // for when the batch is in

	things, applied, recorded, known, deleted, other, failed int
}

func (im *importer) run(r io.Reader) error {
	err := proof.ReadFile(r, im.take)
	// What has been read is brought in also where the file cannot be read further.
	if stopped := (*stoppedError)(nil); errors.As(err, &stopped) {
		return stopped.err
	}
	im.leave()
	if ferr := im.flush(); ferr != nil {
		return errors.Join(err, ferr)
	}
	return err
}

// stoppedError is an error of the server, after which nothing more is sent.
type stoppedError struct{ err error }

func (e *stoppedError) Error() string { return e.err.Error() }

// take takes a line.
func (im *importer) take(fe proof.FileEvent) error {
	if wrong := fe.Err; wrong != nil {
		im.fail(fe.Line, wrong.Error())
		return nil // the next ones are taken
	}
	if im.at == nil || im.at.thing != fe.Event.Thing {
		im.leave()
		im.at = newExported(fe.Event.Thing)
		im.things++
	}
	document := im.at.next(&fe)
	if document == nil {
		if !fe.Event.Kind.OfShadow() {
			im.other++
		}
		return nil
	}
	im.batch, im.lines = append(im.batch, document), append(im.lines, fe.Line)
	if im.bytes += len(document); len(im.batch) < importBatchMax && im.bytes < importBatchBytesMax {
		return nil
	}
	if err := im.flush(); err != nil {
		return &stoppedError{err}
	}
	return nil
}

// leave ends a thing.
func (im *importer) leave() {
	if im.at == nil {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(im.at.shadows)) {
		if s := im.at.shadows[name]; s.lost != 0 {
			im.failMany(s.lost, s.count, fmt.Sprintf("%s: the state after this event, and %d more up to the next snapshot, cannot be told: "+
				"an event before is missing (%v)", twin.ShadowKey{Thing: im.at.thing, Shadow: name}, s.count-1, s.why))
		}
	}
	if f := im.at.final(); !f.nothing() {
		im.finals = append(im.finals, f)
	}
	im.at = nil
}

func (im *importer) fail(line int, what string) { im.failMany(line, 1, what) }

func (im *importer) failMany(line, count int, what string) {
	if im.failed < importErrorsMax {
		im.progress.clear()
		_, _ = fmt.Fprintf(im.log, "%s:%d: %s\n", im.file, line, safe(what)) // the exit code tells too
	}
	im.failed += count
}

// flush sends the batch, then does what was to be done after it.
func (im *importer) flush() error {
	if len(im.batch) > 0 {
		results, err := im.to.IngestDocuments(im.ctx, twin.ShadowKey{}, im.batch)
		if err != nil {
			return fmt.Errorf("lines %d to %d: %w; import the file again to go on", im.lines[0], im.lines[len(im.lines)-1], err)
		}
		for i, r := range results {
			switch r.Result {
			case client.IngestApplied:
				im.applied++
			case client.IngestRecorded:
				im.recorded++
			case client.IngestKnown:
				im.known++
			default:
				im.fail(im.lines[i], fmt.Sprintf("%s, version %d: %v", twin.ShadowKey{Thing: r.DeviceID, Shadow: r.Shadow}, r.Version, r.Problem))
			}
		}
		im.batch, im.lines, im.bytes = im.batch[:0], im.lines[:0], 0
		im.progress.tell(im.applied + im.recorded + im.known)
	}
	for i := range im.finals {
		if err := im.finish(&im.finals[i]); err != nil {
			return fmt.Errorf("%s: %w; import the file again to go on", im.finals[i].thing, err)
		}
	}
	im.finals = im.finals[:0]
	return nil
}

// finish deletes the shadows that were deleted, and says model and tags.
func (im *importer) finish(f *final) error {
	for _, name := range slices.Sorted(maps.Keys(f.deleted)) {
		_, err := im.to.Delete(im.ctx, f.thing, client.ChangeOptions{Shadow: name, IfVersion: f.deleted[name]})
		switch {
		case err == nil:
			im.deleted++
		case !client.IsNotFound(err) && !client.IsConflict(err): // it is gone, or has gone on here
			return err
		}
	}
	if f.model == "" && len(f.tags) == 0 && !f.created {
		return nil
	}
	have, err := im.to.Twin(im.ctx, f.thing, "")
	if err == nil && (f.model == "" || have.Model == f.model) && contains(have.Tags, f.tags) {
		return nil
	}
	if err != nil && !client.IsNotFound(err) {
		return err
	}
	tags := make(map[string]*string)
	for k, v := range f.tags {
		tags[k] = &v
	}
	if len(tags) > 0 || f.model != "" {
		var model *string
		if f.model != "" {
			model = &f.model
		}
		if _, err = im.to.SetAttributes(im.ctx, f.thing, model, tags); err == nil || !client.IsNotFound(err) {
			return err
		}
	}
	if !f.created {
		return nil
	}
	_, err = im.to.Create(im.ctx, client.Attributes{DeviceID: f.thing, Model: f.model, Tags: f.tags})
	if client.IsConflict(err) {
		return nil
	}
	return err
}

func contains(have, want map[string]string) bool {
	for k, v := range want {
		if have[k] != v {
			return false
		}
	}
	return true
}

// end says what came of it; err is why it stopped early.
func (im *importer) end(w io.Writer, err error) error {
	im.progress.clear()
	if _, werr := fmt.Fprintf(w, "%s  %d things, %d states: %d new, %d late, %d known before; %d shadows deleted; %d other events left out; %d failed\n",
		im.file, im.things, im.applied+im.recorded+im.known, im.applied, im.recorded, im.known, im.deleted, im.other, im.failed); werr != nil {
		return werr
	}
	switch {
	case err != nil:
		return explain(fmt.Errorf("%s: %w", im.file, err))
	case im.failed > 0:
		return errors.New("not all of it is imported")
	}
	return nil
}

// importLine tells how far an import is: over itself on a terminal, else a line every 10
// seconds.
type importLine struct {
	w           io.Writer
	every       time.Duration
	start, stop string
	began, last time.Time
	read, size  int64
	told        bool
}

func newImportLine(w io.Writer, size int64) *importLine {
	l := &importLine{w: w, every: 10 * time.Second, stop: "\n", began: time.Now(), size: size}
	if terminal(w) {
		l.every, l.start, l.stop = 500*time.Millisecond, "\r\x1b[K", ""
	}
	l.last = l.began
	return l
}

func (l *importLine) tell(states int) {
	now := time.Now()
	if now.Sub(l.last) < l.every {
		return
	}
	l.last, l.told = now, true
	spent := now.Sub(l.began).Seconds()
	left := ""
	if l.size > 0 && l.read > 0 {
		rest := float64(max(0, l.size-l.read)) / (float64(l.read) / spent)
		left = fmt.Sprintf(", %s left", time.Duration(rest*float64(time.Second)).Round(time.Second))
	}
	_, _ = fmt.Fprintf(l.w, "%s%d states, %.0f a second%s%s", l.start, states, float64(states)/spent, left, l.stop)
}

// clear takes the line away before something else is written.
func (l *importLine) clear() {
	if l.told && l.start != "" {
		_, _ = io.WriteString(l.w, l.start)
	}
}

// countedReader counts what is read.
type countedReader struct {
	io.Reader
	line *importLine
}

func (c *countedReader) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.line.read += int64(n)
	return n, err //nolint:wrapcheck // it is the reader
}
