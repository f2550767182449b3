package proof

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"

	"github.com/twofold-iot/twofold/twin"
)

// headLine is a line of exported heads. Its bytes are docs/format/audit.md.
type headLine struct {
	Thing twin.ThingName `json:"thing"`
	Seq   twin.Seq       `json:"seq"`
	Hash  string         `json:"hash"`
	Time  twin.Time      `json:"time"` // ms since 1970
}

// headsEnd is the last line of exported heads.
type headsEnd struct {
	Things uint64 `json:"things"`
	Digest string `json:"digest"` // SHA-256 of all lines before it
}

// lineBytesMax is the longest line that is read from a file.
const lineBytesMax = 64 << 20

// WriteHeads writes the head of each thing, one line of JSON each, and a last line with
// their number and a digest. What is exported cannot be taken back: kept elsewhere, it
// shows later whether the log was cut short or written anew. The digest alone, written
// down, proves the file.
func WriteHeads(ctx context.Context, src Source, w io.Writer, opts Options) (things uint64, digest string, err error) {
	out := newLineWriter(w)
	opts, err = opts.withDefaults()
	if err != nil {
		return 0, "", err
	}
	err = eachThing(ctx, src, opts.Thing, func(t thing) error {
		things++
		return out.write(headLine{Thing: t.name, Seq: t.head.Seq, Hash: hex.EncodeToString(t.head.Hash[:]), Time: t.head.Time})
	})
	if err != nil {
		return things, "", err
	}
	digest = out.digest()
	if err := out.write(headsEnd{Things: things, Digest: digest}); err != nil {
		return things, "", err
	}
	return things, digest, out.flush()
}

// eachThing calls f for the thing, or for all things if it is empty, by name.
func eachThing(ctx context.Context, src Source, only twin.ThingName, f func(thing) error) error {
	r := &runner{opts: Options{Thing: only}}
	batches := make(chan []thing)
	done := make(chan error, 1)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		defer close(batches)
		done <- r.list(ctx, src, batches)
	}()
	var err error
	for batch := range batches {
		for _, t := range batch {
			if err == nil && ctx.Err() == nil {
				if err = f(t); err != nil {
					cancel()
				}
			}
		}
	}
	listErr := <-done
	switch {
	case err != nil:
		return err
	case listErr != nil:
		return listErr
	case ctx.Err() != nil:
		return fmt.Errorf("read heads: %w", ctx.Err())
	case len(r.report.Findings) > 0:
		f := r.report.Findings[0]
		return errors.New(f.String())
	}
	return nil
}

// readHeads reads exported heads. A file that is cut short or altered is an error of
// kind KindInvalid.
func readHeads(rd io.Reader) (map[twin.ThingName]twin.Head, error) {
	in := newLineReader(rd)
	heads := make(map[twin.ThingName]twin.Head)
	for {
		before := in.digest()
		line, err := in.next()
		if err != nil {
			return nil, err
		}
		if line == nil {
			return nil, invalidLine(in.line, "the file of heads ends here without its last line: it was cut short")
		}
		var l struct {
			headLine
			headsEnd
		}
		if err := json.Unmarshal(line, &l); err != nil {
			return nil, invalidLine(in.line, "it is not a line of exported heads: "+err.Error())
		}
		if l.Digest != "" {
			if l.Digest != before || l.Things != uint64(len(heads)) {
				return nil, invalidLine(in.line, fmt.Sprintf("the digest says %.64q over %d things, the file gives %s over %d: a line was altered", l.Digest, l.Things, before, len(heads)))
			}
			return heads, in.end()
		}
		h := twin.Head{Seq: l.Seq, Time: l.Time}
		var ok bool
		if h.Hash, ok = parseHash(l.Hash); !ok || !l.Thing.Valid() || l.Seq == 0 {
			return nil, invalidLine(in.line, "it has no thing, seq or hash")
		}
		if _, twice := heads[l.Thing]; twice {
			return nil, invalidLine(in.line, fmt.Sprintf("thing %s is there twice", l.Thing))
		}
		heads[l.Thing] = h
	}
}

// CheckHeads compares heads that were exported before with the store. A thing that is gone or
// whose log ends earlier was truncated; one whose link at the exported seq is another was
// rewritten. Links whose events have expired cannot be compared; they count as
// Expired. It does not check the chains, see [Verify].
func CheckHeads(ctx context.Context, src Source, exported io.Reader, opts Options) (Report, error) {
	heads, err := readHeads(exported)
	if err != nil {
		return Report{}, err
	}
	var report Report
	for name, want := range heads {
		if opts.Thing != "" && name != opts.Thing {
			continue
		}
		if err := checkHead(ctx, src, name, want, &report); err != nil {
			return report, fmt.Errorf("thing %s: %w", name, err)
		}
	}
	report.sort()
	return report, nil
}

func checkHead(ctx context.Context, src Source, name twin.ThingName, want twin.Head, report *Report) error {
	report.Things++
	heads, err := src.Heads(ctx, []twin.ThingName{name})
	if err != nil {
		return fmt.Errorf("read head: %w", err)
	}
	have := heads[0]
	if have.Seq < want.Seq {
		report.add(Finding{
			Fault: FaultTruncated, Thing: name, First: have.Seq + 1, Last: want.Seq, Event: have.Seq + 1,
			Detail: fmt.Sprintf("it ends at %d, but was at %d when its head was exported", have.Seq, want.Seq),
		}, findingsMax)
		return nil
	}
	link, seq, found, err := linkAt(ctx, src, name, want.Seq, have, report)
	switch {
	case err != nil:
		if ctx.Err() != nil {
			return err
		}
		report.add(Finding{Fault: FaultUnreadable, Thing: name, First: seq, Last: want.Seq, Err: err}, findingsMax)
	case !found:
		report.Expired++
	case link != want.Hash:
		report.add(Finding{
			Fault: FaultRewritten, Thing: name, First: seq, Last: want.Seq,
			Detail: fmt.Sprintf("its link at %d is not the exported one: it, or an event before it, was written anew", want.Seq),
		}, findingsMax)
	default:
		report.Segments++
	}
	return nil
}

// linkAt computes the link at a seq from the newest anchor before it; seq is the first
// event that it rests on.
func linkAt(ctx context.Context, src Source, name twin.ThingName, at twin.Seq, head twin.Head, report *Report) (link twin.Hash, seq twin.Seq, found bool, err error) {
	if at == head.Seq {
		return head.Hash, at, true, nil
	}
	anchors, err := src.Anchors(ctx, name)
	if err != nil {
		return link, at, false, fmt.Errorf("read anchors: %w", err)
	}
	var from twin.Head
	for _, a := range anchors {
		if a.Seq <= at && a.Seq > from.Seq {
			from = a
		}
	}
	c := chain{src: src, opts: &Options{}, name: name, head: head, tell: func(int, bool) {}}
	link = from.Hash
	for n := from.Seq + 1; n <= at; n++ {
		b, err := c.next(ctx, n, twin.Head{Seq: at})
		if err != nil {
			return link, from.Seq + 1, false, err
		}
		s, ok := readStamp(b)
		if !ok || s.seq != n || string(s.thing) != string(name) {
			return link, from.Seq + 1, false, nil
		}
		link = c.linker.next(&link, b)
		report.Events++
	}
	return link, from.Seq + 1, true, nil
}

// lineWriter writes lines of JSON and keeps their digest.
type lineWriter struct {
	w   *bufio.Writer
	sum hash.Hash
	buf bytes.Buffer
	enc *json.Encoder
}

func newLineWriter(w io.Writer) *lineWriter {
	l := &lineWriter{w: bufio.NewWriterSize(w, 64<<10), sum: sha256.New()}
	l.enc = json.NewEncoder(&l.buf)
	l.enc.SetEscapeHTML(false)
	return l
}

func (l *lineWriter) write(v any) error {
	l.buf.Reset()
	if err := l.enc.Encode(v); err != nil {
		return fmt.Errorf("encode line: %w", err)
	}
	_, _ = l.sum.Write(l.buf.Bytes()) // a hash never fails
	if _, err := l.w.Write(l.buf.Bytes()); err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	return nil
}

// digest is of all lines so far.
func (l *lineWriter) digest() string { return hex.EncodeToString(l.sum.Sum(nil)) }

func (l *lineWriter) flush() error {
	if err := l.w.Flush(); err != nil {
		return fmt.Errorf("write line: %w", err)
	}
	return nil
}

// lineReader reads what lineWriter wrote.
type lineReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	line int // of what next returned, from 1
	buf  []byte
}

func newLineReader(r io.Reader) *lineReader {
	return &lineReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New()}
}

// digest is of all lines read so far.
func (l *lineReader) digest() string { return hex.EncodeToString(l.sum.Sum(nil)) }

// next returns the next line without its end, nil at the end of the file. The bytes
// are good until the next call.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	l.line++
	for {
		part, err := l.r.ReadSlice('\n')
		l.buf = append(l.buf, part...)
		switch {
		case err == nil:
			_, _ = l.sum.Write(l.buf)
			return l.buf[:len(l.buf)-1], nil
		case errors.Is(err, io.EOF) && len(l.buf) == 0:
			return nil, nil
		case errors.Is(err, io.EOF):
			return nil, invalidLine(l.line, "it has no end: the file was cut short")
		case !errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("read line %d: %w", l.line, err)
		case len(l.buf) > lineBytesMax:
			return nil, invalidLine(l.line, fmt.Sprintf("it is longer than %d bytes", lineBytesMax))
		}
	}
}

// end reports an error if anything follows.
func (l *lineReader) end() error {
	line, err := l.next()
	if err != nil || line != nil {
		return invalidLine(l.line, "something follows the last line of the file")
	}
	return nil
}

func invalidLine(line int, what string) error {
	return twin.NewError(twin.KindInvalid, fmt.Sprintf("line %d: %s", line, what))
}
