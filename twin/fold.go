package twin

import (
	"bytes"
	"fmt"
	"math"
	"strings"
	"sync"

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
	f := folders.Get().(*Folder)
	defer folders.Put(f)
	if ev.Kind != EventUpdated || len(ev.Patch) == 0 {
		return f.Fold(prev, ev)
	}
	own := *ev
	own.Patch = bytes.Clone(ev.Patch)
	next, err := f.Fold(prev, &own)
	f.nodes = nil // what is left of it must not stay with a shadow
	return next, err
}

var folders = sync.Pool{New: func() any { return &Folder{single: true} }}

// Folder folds many events. Unlike [Fold] it makes shadows that share the memory of the
// events' patches and of each other: for those that are kept and thrown away together. The
// zero value is ready; it is for one goroutine.
type Folder struct {
	reader  patchReader
	nodes   []Node   // memory for shadows to come
	shadows []Shadow // likewise
	single  bool     // shadows are to share no memory
}

// How much memory for shadows is allocated at once.
const (
	folderNodes   = 256
	folderShadows = 64
)

// Fold is the function [Fold].
func (f *Folder) Fold(prev *Shadow, ev *Event) (*Shadow, error) {
	next, err := f.fold(prev, ev)
	if err == nil && next != prev && next.Version != ev.Version {
		err = fmt.Errorf("it gives version %d, the event says %d", next.Version, ev.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("fold event %d of %s: %w", ev.Seq, ShadowKey{ev.Thing, ev.Shadow}, err)
	}
	return next, nil
}

func (f *Folder) fold(prev *Shadow, ev *Event) (*Shadow, error) {
	switch {
	case ev.Kind == EventDeleted:
		c, err := NewDelete(ShadowKey{ev.Thing, ev.Shadow}, prev, &Request{}, ev.Time)
		if err != nil {
			return nil, err
		}
		return c.Current, nil
	case ev.Kind != EventUpdated:
		return prev, nil
	case ev.Mirrored():
		return MirroredState(ev)
	}
	state, ok := f.reader.read(ev.Patch)
	if !ok {
		req, err := parsePatch(ev.Patch)
		if err != nil {
			return nil, err
		}
		state = *req.state
	}
	if prev.Expired(ev.Time) {
		prev = nil
	}
	next := f.shadow()
	next.Version = 1
	if prev != nil {
		next.Version = prev.Version + 1
		next.Desired, next.Reported = prev.Desired, prev.Reported
	}
	m := merger{stamp: ev.Time.Seconds(), slab: f.nodes, many: !f.single}
	m.apply(next, &state)
	f.nodes = m.slab
	return next, nil
}

// shadow returns an empty shadow.
func (f *Folder) shadow() *Shadow {
	if f.single {
		return &Shadow{}
	}
	if len(f.shadows) == 0 {
		f.shadows = make([]Shadow, folderShadows)
	}
	s := &f.shadows[0]
	f.shadows = f.shadows[1:]
	return s
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
