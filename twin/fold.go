package twin

import (
	"fmt"
	"math"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
)

// foldLimits let everything pass that was ever accepted, whatever the limits were
// at the time.
var foldLimits = Limits{DocumentBytesMax: math.MaxInt32, DepthMax: 4096, TokenBytesMax: math.MaxInt32} //nolint:gochecknoglobals // read only

// Fold returns the shadow after an event, given the one before it (nil: none). It
// applies the same rules as the update did, with the event's time, and so gives the
// same bytes. It does not use the event's snapshot, so that the snapshot can be
// checked against it. An event that is not of a shadow's current state changes
// nothing.
func Fold(prev *Shadow, ev *Event) (*Shadow, error) {
	key := ShadowKey{ev.Thing, ev.Shadow}
	if ev.Kind == EventUpdated && ev.Mirrored() {
		return MirroredState(ev)
	}
	var c *Change
	var err error
	switch ev.Kind {
	case EventUpdated:
		var req *Request
		if req, err = parsePatch(ev.Patch); err == nil {
			c, err = NewChange(key, prev, req, ev.Time, foldLimits)
		}
	case EventDeleted:
		c, err = NewDelete(key, prev, &Request{}, ev.Time)
	default:
		return prev, nil
	}
	if err != nil {
		return nil, fmt.Errorf("fold event %d of %s: %w", ev.Seq, key, err)
	}
	if c.Current.Version != ev.Version {
		return nil, fmt.Errorf("fold event %d of %s: it gives version %d, the event says %d", ev.Seq, key, c.Current.Version, ev.Version)
	}
	return c.Current, nil
}

// RecordedState returns the shadow that an EventRecorded holds.
func RecordedState(ev *Event) (*Shadow, error) {
	if ev.Mirrored() {
		return MirroredState(ev)
	}
	req, err := parsePatch(ev.Patch)
	if err != nil {
		return nil, fmt.Errorf("recorded state %d of %s: %w", ev.Seq, ev.Thing, err)
	}
	at := ev.Time
	if ev.OriginTime != 0 {
		at = ev.OriginTime
	}
	c, err := NewChange(ShadowKey{ev.Thing, ev.Shadow}, nil, req, at, foldLimits)
	if err != nil {
		return nil, fmt.Errorf("recorded state %d of %s: %w", ev.Seq, ev.Thing, err)
	}
	c.Current.Version = ev.Version
	return c.Current, nil
}

func parsePatch(patch []byte) (*Request, error) {
	return ParseRequest(wrapState(patch), foldLimits)
}

// PatchTouches reports whether a patch changes what is at a dotted path such as
// "reported.engine.rpm": it has a member there, or beneath it, or replaces
// something above it by a value that is no object.
func PatchTouches(patch []byte, path string) bool {
	if len(patch) == 0 {
		return false
	}
	req, err := parsePatch(patch)
	if err != nil || req.state == nil {
		return false
	}
	n := req.state
	for {
		if n.kind != kindObject {
			return true
		}
		name, rest, more := strings.Cut(path, ".")
		key, err := jsontext.AppendQuote(nil, name)
		if err != nil {
			return false
		}
		if n = n.find(string(key)); n == nil {
			return false
		}
		if !more {
			return true
		}
		path = rest
	}
}
