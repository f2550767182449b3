package proof

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/twofold-iot/twofold/internal/store"
	"github.com/twofold-iot/twofold/twin"
)

// auditFormat is in the first line of an audit file; its layout is docs/format/audit.md.
const auditFormat = 1

// What a line of an audit file is.
const (
	lineAudit  = "audit"  // the first
	lineThing  = "thing"  // a thing begins: where its chain starts from
	lineEvent  = "event"  // an event
	lineGap    = "gap"    // events that are not there
	lineAnchor = "anchor" // the store's link at a seq
	lineHead   = "head"   // the head: the thing ends
	lineEnd    = "end"    // the last: counts and digest
)

type auditLine struct {
	Line   string    `json:"line"`
	Format int       `json:"format"`
	Made   time.Time `json:"made"`
}

// linkLine is a line of the kinds thing, anchor and head.
type linkLine struct {
	Line  string         `json:"line"`
	Thing twin.ThingName `json:"thing"`
	Seq   twin.Seq       `json:"seq"`
	Hash  string         `json:"hash"`
	Time  twin.Time      `json:"time"`
}

// Why events are not in the file.
const (
	whyExpired = "expired" // they were older than is kept
	whyMissing = "missing" // they should have been there
)

type gapLine struct {
	Line  string         `json:"line"`
	Thing twin.ThingName `json:"thing"`
	First twin.Seq       `json:"first"`
	Last  twin.Seq       `json:"last"`
	Why   string         `json:"why"`
}

// eventLine has the event in readable form, and what proves it.
type eventLine struct {
	Line         string          `json:"line"`
	Thing        twin.ThingName  `json:"thing"`
	Shadow       twin.ShadowName `json:"shadow,omitempty"`
	Seq          twin.Seq        `json:"seq"`
	Kind         string          `json:"kind"`
	Version      twin.Version    `json:"version,omitempty"`
	Time         string          `json:"time"`
	OriginTime   string          `json:"originTime,omitempty"`
	Door         string          `json:"door"`
	Session      string          `json:"session,omitempty"`
	PacketID     uint16          `json:"packetId,omitempty"`
	Model        string          `json:"model,omitempty"`
	ModelVersion uint32          `json:"modelVersion,omitempty"`
	Correlation  string          `json:"correlationId,omitempty"`
	Type         string          `json:"type,omitempty"`
	Severity     string          `json:"severity,omitempty"`
	Message      string          `json:"message,omitempty"`
	Data         json.RawMessage `json:"data,omitempty"`
	State        json.RawMessage `json:"state,omitempty"` // the patch
	Computed     json.RawMessage `json:"computed,omitempty"`
	Bytes        string          `json:"bytes"` // canonical, base64
	// Link is the link of the chain at this event; absent after a gap, up to the next
	// anchor, because nobody knows it.
	Link string `json:"link,omitempty"`
}

type endLine struct {
	Line    string `json:"line"`
	Things  uint64 `json:"things"`
	Events  uint64 `json:"events"`
	Anchors uint64 `json:"anchors"`
	Gaps    uint64 `json:"gaps"`
	Digest  string `json:"digest"` // SHA-256 of all lines before it
}

// ExportAudit writes events with their proofs as lines of JSON, thing by thing. A hole in the
// log is a line of its own; nothing is left out in silence. What does not fit
// is written as it is: [CheckFile] finds it, as [Verify] does. It returns the digest,
// which proves the file to whoever has it from elsewhere.
func ExportAudit(ctx context.Context, src Source, w io.Writer, opts Options) (Report, string, error) {
	opts, err := opts.withDefaults()
	if err != nil {
		return Report{}, "", err
	}
	r := &runner{opts: opts}
	a := &auditor{src: src, opts: &opts, out: newLineWriter(w), tell: r.tell}
	head := auditLine{Line: lineAudit, Format: auditFormat}
	if opts.Now != nil {
		r.start = opts.Now()
		r.told, head.Made = r.start, r.start.UTC()
	}
	if err := a.out.write(head); err != nil {
		return a.report, "", err
	}
	err = eachThing(ctx, src, opts.Thing, func(t thing) error {
		r.things.Add(1)
		if err := a.thing(ctx, t); err != nil {
			return fmt.Errorf("export thing %s: %w", t.name, err)
		}
		return nil
	})
	if err != nil {
		return a.report, "", err
	}
	digest := a.out.digest()
	a.end.Line, a.end.Digest = lineEnd, digest
	if err := a.out.write(a.end); err != nil {
		return a.report, "", err
	}
	r.tell(0, true)
	return a.report, digest, a.out.flush()
}

// auditor writes an audit file.
type auditor struct {
	src    Source
	opts   *Options
	out    *lineWriter
	tell   func(events int, last bool)
	report Report
	end    endLine
	pager  pager
	linker linker
}

func linkLineOf(line string, thing twin.ThingName, h twin.Head) linkLine {
	return linkLine{Line: line, Thing: thing, Seq: h.Seq, Hash: hex.EncodeToString(h.Hash[:]), Time: h.Time}
}

// thing writes one thing: where it starts, its events with the anchors between them,
// and its head.
func (a *auditor) thing(ctx context.Context, t thing) error {
	anchors, err := a.src.Anchors(ctx, t.name)
	if err != nil {
		return fmt.Errorf("read anchors: %w", err)
	}
	whole, err := a.opts.firstWholeDay(ctx, a.src, t.name)
	if err != nil {
		return err
	}
	p := &auditThing{auditor: a, whole: whole, name: t.name, head: t.head, anchors: anchors, known: true}
	var after twin.Seq
	var at twin.Time
	for after < t.head.Seq {
		limit := a.pager.events()
		page, err := a.src.ThingEvents(ctx, store.ThingRange{Thing: t.name, From: dayStart(at), After: after, Limit: limit})
		if err != nil {
			return fmt.Errorf("read events after %d (run verify to see which cannot be read): %w", after, err)
		}
		a.pager.saw(page)
		a.tell(len(page), false)
		if len(page) == 0 {
			break
		}
		for _, b := range page {
			ev, err := twin.DecodeEvent(b)
			if err != nil {
				return fmt.Errorf("event after %d: %w; run verify", after, err)
			}
			if ev.Thing != t.name || ev.Seq <= after {
				return fmt.Errorf("after event %d comes one that says it is %d of %.130q; run verify", after, ev.Seq, string(ev.Thing))
			}
			if ev.Seq > t.head.Seq {
				break
			}
			if err := p.event(&ev, b); err != nil {
				return err
			}
			after, at = ev.Seq, ev.Time
		}
		if len(page) < limit {
			break
		}
	}
	return p.finish()
}

// auditThing is where the export of one thing stands.
type auditThing struct {
	*auditor
	name    twin.ThingName
	head    twin.Head
	anchors []twin.Head // not yet written
	whole   uint32      // first day on which nothing of the thing has expired
	begun   bool
	known   bool // link is known
	seq     twin.Seq
	link    twin.Hash
}

// begin starts the chain at the last anchor before the first event that is kept.
func (p *auditThing) begin(first twin.Seq) error {
	if p.begun {
		return nil
	}
	p.begun = true
	p.end.Things++
	p.report.Things++
	var from twin.Head
	for len(p.anchors) > 0 && p.anchors[0].Seq < first && p.gone(p.anchors[0].Time) {
		from, p.anchors = p.anchors[0], p.anchors[1:]
	}
	p.report.Expired += uint64(from.Seq)
	p.seq, p.link = from.Seq, from.Hash
	return p.out.write(linkLineOf(lineThing, p.name, from))
}

func (p *auditThing) event(ev *twin.Event, canonical []byte) error {
	if err := p.begin(ev.Seq); err != nil {
		return err
	}
	if err := p.gapTo(ev.Seq, ev.Time); err != nil {
		return err
	}
	p.seq = ev.Seq
	link := ""
	if p.known {
		p.link = p.linker.next(&p.link, canonical)
		link = hex.EncodeToString(p.link[:])
	} else {
		p.report.Unproven++
	}
	p.end.Events++
	p.report.Events++
	if err := p.out.write(readable(ev, canonical, link)); err != nil {
		return err
	}
	return p.passAnchors(ev.Seq)
}

// gone reports whether events up to a time, which are missing, have expired. Where
// nobody told what has, it says so of those before the first.
func (p *auditThing) gone(at twin.Time) bool {
	return (p.opts.Expired == nil && p.seq == 0) || at.Day() < p.whole
}

// gapTo writes what is missing before an event, with the anchors in between: the chain
// can be followed again from one right before the event.
func (p *auditThing) gapTo(next twin.Seq, at twin.Time) error {
	for p.seq+1 < next {
		last, until := next-1, at
		if len(p.anchors) > 0 && p.anchors[0].Seq <= last {
			last, until = p.anchors[0].Seq, p.anchors[0].Time
		}
		why := whyMissing
		if until.Day() < p.whole {
			why = whyExpired
			p.report.Expired += uint64(last - p.seq)
		} else {
			p.report.add(Finding{Fault: FaultMissing, Thing: p.name, First: p.seq + 1, Last: last, Event: p.seq + 1, Detail: "it is written as a gap"}, findingsMax)
		}
		p.end.Gaps++
		if err := p.out.write(gapLine{Line: lineGap, Thing: p.name, First: p.seq + 1, Last: last, Why: why}); err != nil {
			return err
		}
		p.seq, p.known = last, false
		if err := p.passAnchors(last); err != nil {
			return err
		}
	}
	return nil
}

// passAnchors writes the anchors up to a seq. From one at that seq the links are known.
func (p *auditThing) passAnchors(seq twin.Seq) error {
	for len(p.anchors) > 0 && p.anchors[0].Seq <= seq {
		anchor := p.anchors[0]
		p.anchors = p.anchors[1:]
		p.end.Anchors++
		if err := p.out.write(linkLineOf(lineAnchor, p.name, anchor)); err != nil {
			return err
		}
		if anchor.Seq == seq && !p.known {
			p.link, p.known = anchor.Hash, true
		}
	}
	return nil
}

func (p *auditThing) finish() error {
	if err := p.begin(p.head.Seq + 1); err != nil {
		return err
	}
	if err := p.gapTo(p.head.Seq+1, p.head.Time); err != nil {
		return err
	}
	return p.out.write(linkLineOf(lineHead, p.name, p.head))
}

// readable returns the line of an event.
func readable(ev *twin.Event, canonical []byte, link string) eventLine {
	l := eventLine{
		Line: lineEvent, Thing: ev.Thing, Shadow: ev.Shadow, Seq: ev.Seq, Kind: ev.Kind.String(), Version: ev.Version,
		Time: timeText(ev.Time), Door: ev.Origin.Door.String(), Session: ev.Origin.Session, PacketID: ev.Origin.PacketID,
		Model: ev.Model, ModelVersion: ev.ModelVersion, Correlation: ev.Correlation,
		Type: ev.Type, Severity: ev.Severity.String(), Message: ev.Message,
		Data: readableJSON(ev.Data), State: readableJSON(ev.Patch), Computed: readableJSON(ev.Computed),
		Bytes: base64.StdEncoding.EncodeToString(canonical), Link: link,
	}
	if ev.OriginTime != 0 {
		l.OriginTime = timeText(ev.OriginTime)
	}
	return l
}

// readableJSON returns JSON as it is, and anything else as a string.
func readableJSON(b []byte) json.RawMessage {
	if len(b) == 0 || json.Valid(b) {
		return b
	}
	quoted, _ := json.Marshal(string(b)) // a string can be encoded
	return quoted
}
