package proof

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"

	"github.com/twofold-iot/twofold/twin"
)

// FileOptions of [CheckFile]; the zero value works.
type FileOptions struct {
	// Heads, if not nil, are heads that were exported ([WriteHeads]): the file must
	// agree with those of its things, which a file that was forged as a whole does not.
	Heads io.Reader
	// Digest, if not empty, is what the file must have.
	Digest string
}

// CheckFile verifies an audit file without a store: that each readable line says what its
// canonical bytes say, that the links of each thing follow one from another and agree with
// its anchors and head, and that nothing was added or left out. A file that was cut
// short, or is none, is an error of kind KindInvalid; so is one with another digest.
// All else is in the report.
func CheckFile(r io.Reader, opts FileOptions) (Report, error) {
	f := &fileCheck{in: newLineReader(r)}
	f.out.enc = json.NewEncoder(&f.out.buf)
	f.out.enc.SetEscapeHTML(false)
	if opts.Heads != nil {
		var err error
		if f.heads, err = readHeads(opts.Heads); err != nil {
			return Report{}, fmt.Errorf("read exported heads: %w", err)
		}
	}
	line, err := f.in.next()
	if err != nil {
		return Report{}, err
	}
	var first auditLine
	if line == nil || json.Unmarshal(line, &first) != nil || first.Line != lineAudit {
		return Report{}, invalidLine(1, "it is not the first line of an audit file")
	}
	if first.Format != auditFormat {
		return Report{}, invalidLine(1, fmt.Sprintf("format %d is unknown; a newer version may read it", first.Format))
	}
	for f.trailer == nil {
		sum := f.in.digest()
		line, err := f.in.next()
		if err != nil {
			return f.report, err
		}
		if line == nil {
			return f.report, invalidLine(f.in.line, "the file ends here without its last line: it was cut short")
		}
		if err := f.line(line, sum); err != nil {
			return f.report, err
		}
	}
	if err := f.in.end(); err != nil {
		return f.report, err
	}
	if opts.Digest != "" && opts.Digest != f.trailer.Digest {
		return f.report, invalidLine(f.in.line-1, fmt.Sprintf("the digest is %s, not the one given: this is another file", f.trailer.Digest))
	}
	return f.report, nil
}

// fileCheck is where the check of a file stands.
type fileCheck struct {
	in  *lineReader
	out struct { // to write again what was read
		buf bytes.Buffer
		enc *json.Encoder
	}
	heads   map[twin.ThingName]twin.Head
	report  Report
	count   endLine
	trailer *endLine
	linker  linker

	// Of the thing being read.
	thing  twin.ThingName // empty: between two
	last   twin.ThingName // the one before, for their order
	seq    twin.Seq
	time   twin.Time
	link   twin.Hash
	known  bool
	event  twin.Seq  // first event since the links were last compared
	other  twin.Hash // what the line before gave, if it is not what it says
	differ int       // line on which link and other parted, 0: they are the same
}

func (f *fileCheck) add(fault Fault, event twin.Seq, format string, args ...any) {
	f.report.add(Finding{Fault: fault, Thing: f.thing, Event: event, Line: f.in.line, Detail: fmt.Sprintf(format, args...)}, findingsMax)
}

// line checks one line. sum is the digest of those before it.
func (f *fileCheck) line(b []byte, sum string) error {
	var kind struct {
		Line string `json:"line"`
	}
	if err := json.Unmarshal(b, &kind); err != nil {
		f.add(FaultDamaged, 0, "it is not JSON: %v", err)
		return nil
	}
	switch kind.Line {
	case lineEvent:
		f.eventLine(b)
	case lineThing, lineAnchor, lineHead:
		var l linkLine
		if h, ok := f.linkLine(b, &l); ok {
			f.linked(l, h)
		}
	case lineGap:
		f.gap(b)
	case lineEnd:
		return f.end(b, sum)
	default:
		f.add(FaultDamaged, 0, "a line of kind %.20q is unknown", kind.Line)
	}
	return nil
}

// same reports whether a line is exactly what would be written for v.
func (f *fileCheck) same(line []byte, v any) bool {
	f.out.buf.Reset()
	if err := f.out.enc.Encode(v); err != nil {
		return false
	}
	return bytes.Equal(line, bytes.TrimSuffix(f.out.buf.Bytes(), []byte("\n")))
}

func (f *fileCheck) linkLine(b []byte, l *linkLine) (h twin.Head, ok bool) {
	if err := json.Unmarshal(b, l); err != nil || !f.same(b, *l) {
		f.add(FaultAltered, l.Seq, "the line is not as it is written (%v)", err)
	}
	h = twin.Head{Seq: l.Seq, Time: l.Time}
	if h.Hash, ok = parseHash(l.Hash); !ok {
		f.add(FaultDamaged, l.Seq, "it has no hash")
	}
	return h, ok
}

// parseHash takes a hash as it is written, in lower case.
func parseHash(s string) (h twin.Hash, ok bool) {
	if len(s) != 2*len(h) {
		return h, false
	}
	n, err := hex.Decode(h[:], []byte(s))
	return h, err == nil && n == len(h) && hex.EncodeToString(h[:]) == s
}

// linked takes a line of the kinds thing, anchor and head.
func (f *fileCheck) linked(l linkLine, h twin.Head) {
	if l.Line == lineThing {
		if f.thing != "" {
			f.add(FaultTruncated, f.seq+1, "thing %s begins, but %s has no head yet: lines are missing", l.Thing, f.thing)
		}
		if l.Thing <= f.last {
			f.add(FaultDuplicate, 0, "thing %.130q comes after %s", string(l.Thing), f.last)
		}
		f.begin(l.Thing, h)
		if h.Seq == 0 && (h.Hash != twin.Hash{} || h.Time != 0) {
			f.add(FaultAltered, 0, "the link before the first event is not zero")
			f.link, f.time = twin.Hash{}, 0
		}
		f.exported(h.Seq, h.Hash)
		return
	}
	if f.belongs(l.Thing) {
		if l.Line == lineAnchor && h.Seq == f.seq && f.event == h.Seq+1 {
			f.add(FaultDuplicate, h.Seq, "the line before says already what the link is at %d", h.Seq)
		}
		f.compare(l.Line, h)
	}
	if l.Line == lineHead {
		f.thing = ""
		return
	}
	f.count.Anchors++
}

func (f *fileCheck) begin(name twin.ThingName, from twin.Head) {
	f.count.Things++
	f.report.Things++
	f.thing, f.last = name, name
	f.seq, f.time, f.link, f.known, f.event, f.differ = from.Seq, from.Time, from.Hash, true, from.Seq+1, 0
}

// belongs reports whether a line is of the thing being read.
func (f *fileCheck) belongs(name twin.ThingName) bool {
	if f.thing == name && name != "" {
		return true
	}
	f.report.add(Finding{Fault: FaultForeign, Thing: name, Line: f.in.line, Detail: fmt.Sprintf("it stands among the lines of %.130q", string(f.thing))}, findingsMax)
	return false
}

// compare checks an anchor or the head against the links.
func (f *fileCheck) compare(what string, h twin.Head) {
	fault := FaultAnchor
	if what == lineHead {
		fault = FaultTruncated
	}
	switch {
	case h.Seq > f.seq:
		f.add(fault, f.seq+1, "the %s is at %d, the line before is of event %d: lines are missing", what, h.Seq, f.seq)
	case h.Seq < f.seq:
		f.add(FaultAnchor, h.Seq, "the %s is at %d, the line before is of event %d", what, h.Seq, f.seq)
		return
	case !f.known:
		f.exported(h.Seq, h.Hash)
	case h.Hash != f.link:
		f.report.add(Finding{
			Fault: FaultAltered, Thing: f.thing, Line: f.in.line, First: f.event, Last: h.Seq, Event: h.Seq,
			Detail: fmt.Sprintf("the links of the lines before do not lead to this %s: the store did not fit when it was exported, or this line was altered", what),
		}, findingsMax)
	case h.Time != f.time && f.event <= h.Seq:
		f.add(FaultAnchor, h.Seq, "the time of the %s is not that of the event", what)
	}
	f.report.Segments++
	f.seq, f.time, f.link, f.known, f.event, f.differ = h.Seq, h.Time, h.Hash, true, h.Seq+1, 0
}

// exported compares a link with the exported head of the thing.
func (f *fileCheck) exported(seq twin.Seq, link twin.Hash) {
	if h, ok := f.heads[f.thing]; ok && h.Seq == seq && h.Hash != link {
		f.add(FaultRewritten, seq, "its link is not the one of the head that was exported")
	}
}

func (f *fileCheck) eventLine(b []byte) {
	f.count.Events++
	f.report.Events++
	var l eventLine
	if err := json.Unmarshal(b, &l); err != nil {
		f.add(FaultDamaged, f.seq+1, "the line cannot be read: %v", err)
		f.lose(f.seq + 1)
		return
	}
	canonical, err := base64.StdEncoding.Strict().DecodeString(l.Bytes)
	if err != nil {
		f.add(FaultDamaged, l.Seq, "its bytes cannot be read: %v", err)
		f.lose(f.seq + 1)
		return
	}
	ev, err := twin.DecodeEvent(canonical)
	if err != nil {
		f.add(FaultAltered, f.seq+1, "its bytes are no event: %v", err)
		f.follow(f.seq+1, f.time, l.Link, canonical)
		return
	}
	if !f.same(b, readable(&ev, canonical, l.Link)) {
		f.add(FaultAltered, ev.Seq, "what can be read in the line is not what its bytes say")
	}
	if !f.belongs(ev.Thing) {
		return
	}
	switch {
	case ev.Seq == f.seq+1:
		due := f.seq%twin.SegmentEvents == 0 || ev.Time >= dayEnd(f.time)
		if due && f.known && f.event != ev.Seq {
			f.add(FaultAnchor, f.seq, "there is no anchor after event %d", f.seq)
		}
	case ev.Seq <= f.seq:
		f.add(FaultDuplicate, ev.Seq, "it comes after event %d: it is there twice, or swapped", f.seq)
		return
	default:
		f.add(FaultMissing, f.seq+1, "the line before is of event %d, this one is of %d", f.seq, ev.Seq)
		f.known = false
	}
	if ev.Time < f.time {
		f.add(FaultTime, ev.Seq, "%s comes after %s", timeText(ev.Time), timeText(f.time))
	}
	f.follow(ev.Seq, ev.Time, l.Link, canonical)
}

// lose goes past an event whose bytes are not known.
func (f *fileCheck) lose(seq twin.Seq) { f.seq, f.known, f.differ = seq, false, 0 }

// follow checks the link of an event and goes on from the one in the line, so that each
// line is judged by itself. If the next line fits what was computed and not what
// the line says, then only the link in the line was altered; that is the same finding.
func (f *fileCheck) follow(seq twin.Seq, at twin.Time, text string, canonical []byte) {
	f.seq, f.time = seq, at
	says, valid := parseHash(text)
	switch {
	case !f.known && text == "":
		f.report.Unproven++
		return
	case !valid:
		f.add(FaultDamaged, seq, "it has no link as it is written")
		f.known = false
		return
	case !f.known: // begin again from what the line says
		f.report.Unproven++
		f.link, f.known, f.differ = says, true, 0
		return
	}
	got := f.linker.next(&f.link, canonical)
	if got != says && f.differ == f.in.line-1 && f.linker.next(&f.other, canonical) == says {
		got = says
	}
	if got != says {
		f.add(FaultAltered, seq, "its link does not follow from that of the line before and its bytes")
		f.differ, f.other = f.in.line, got
	}
	f.link = says
	f.exported(seq, says)
}

func (f *fileCheck) gap(b []byte) {
	var l gapLine
	if err := json.Unmarshal(b, &l); err != nil || !f.same(b, l) {
		f.add(FaultAltered, 0, "the line is not as it is written (%v)", err)
	}
	f.count.Gaps++
	if !f.belongs(l.Thing) {
		return
	}
	if l.First != f.seq+1 || l.Last < l.First {
		f.add(FaultMissing, f.seq+1, "a gap from %d to %d follows event %d", l.First, l.Last, f.seq)
	}
	switch l.Why {
	case whyExpired:
		f.report.Expired += uint64(max(l.Last, l.First) - l.First + 1)
	default:
		f.add(FaultMissing, l.First, "the events from %d to %d were not in the store when it was exported", l.First, l.Last)
	}
	f.lose(max(l.Last, f.seq))
}

// end checks the last line.
func (f *fileCheck) end(b []byte, sum string) error {
	var l endLine
	if err := json.Unmarshal(b, &l); err != nil || !f.same(b, l) {
		return invalidLine(f.in.line, "the last line was altered")
	}
	f.trailer = &l
	if f.thing != "" {
		f.add(FaultTruncated, f.seq+1, "the file ends, but %s has no head: lines are missing", f.thing)
	}
	count := f.count
	count.Line, count.Digest = l.Line, l.Digest
	if count != l {
		f.add(FaultMissing, 0, "it says %d things, %d events, %d anchors, %d gaps; the file has %d, %d, %d, %d",
			l.Things, l.Events, l.Anchors, l.Gaps, f.count.Things, f.count.Events, f.count.Anchors, f.count.Gaps)
	}
	if l.Digest != sum {
		f.add(FaultAltered, 0, "the digest of the lines before is %s, not %.64q: a line was altered, added or removed", sum, l.Digest)
	}
	return nil
}
