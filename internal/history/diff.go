package history

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Op says what became of a path.
type Op string

// The ops.
const (
	Added   Op = "added"
	Removed Op = "removed"
	Changed Op = "changed"
)

// PathChange is one path that differs between two states. Values are compact JSON as
// they were sent, so 1.50 and 1.5 differ. Stamps are in seconds since the epoch.
type PathChange struct {
	Path                    string // of a leaf, with its section: reported.temperature
	Op                      Op
	Before, After           []byte // nil where there was or is none
	BeforeStamp, AfterStamp int64
}

// Side is one of the two states of a difference.
type Side struct {
	Exists  bool
	Version twin.Version
	Time    twin.Time // of the event that made it; 0 if there was nothing yet
	Seq     twin.Seq
}

// Difference is what changed from A to B.
type Difference struct {
	A, B    Side
	Changes []PathChange // in the order of the documents: B's, then what was removed
	// MergePatch turns {"desired":…,"reported":…} of A into that of B (RFC 7396).
	MergePatch []byte
}

// Diff compares a shadow at two points. One that did not exist, yet or any more, is
// empty; at least one of the two must be known.
func (r *Reader) Diff(ctx context.Context, key twin.ShadowKey, a, b Point) (Difference, error) {
	before, sideA, err := r.side(ctx, key, a)
	if err != nil {
		return Difference{}, err
	}
	after, sideB, err := r.side(ctx, key, b)
	if err != nil {
		return Difference{}, err
	}
	if before == nil && after == nil {
		return Difference{}, r.unknown(ctx, key, b)
	}
	d := Difference{A: sideA, B: sideB, Changes: changes(before, after)}
	d.MergePatch, err = mergePatch(document(before), document(after))
	return d, err
}

// side returns a state, nil before the first event. What has expired is an error.
func (r *Reader) side(ctx context.Context, key twin.ShadowKey, p Point) (*twin.Shadow, Side, error) {
	s, ev, err := r.state(ctx, key, p)
	if err != nil {
		return nil, Side{}, err
	}
	if s == nil {
		base, err := r.base(ctx, key)
		if err == nil && (base != nil || p.Version != 0) {
			err = r.unknown(ctx, key, p)
		}
		return nil, Side{}, err
	}
	return s, Side{s.Exists(), s.Version, when(ev), ev.Seq}, nil
}

type leafValue struct {
	path  string
	value []byte
	stamp int64
}

func leaves(s *twin.Shadow) []leafValue {
	if !s.Exists() {
		return nil
	}
	var all []leafValue
	add := func(section string, n *twin.Node) {
		n.Leaves(func(path string, value []byte, stamp int64) {
			all = append(all, leafValue{section + "." + path, bytes.Clone(value), stamp})
		})
	}
	add("desired", s.Desired)
	add("reported", s.Reported)
	return all
}

func changes(a, b *twin.Shadow) []PathChange {
	before, after := leaves(a), leaves(b)
	had := make(map[string]leafValue, len(before))
	for _, l := range before {
		had[l.path] = l
	}
	var out []PathChange
	for _, l := range after {
		old, was := had[l.path]
		delete(had, l.path)
		switch {
		case !was:
			out = append(out, PathChange{Path: l.path, Op: Added, After: l.value, AfterStamp: l.stamp})
		case !bytes.Equal(old.value, l.value):
			out = append(out, PathChange{l.path, Changed, old.value, l.value, old.stamp, l.stamp})
		}
	}
	for _, l := range before {
		if _, gone := had[l.path]; gone {
			out = append(out, PathChange{Path: l.path, Op: Removed, Before: l.value, BeforeStamp: l.stamp})
		}
	}
	return out
}

// document is the state of a shadow as one JSON object, absent sections left out.
func document(s *twin.Shadow) []byte {
	doc := []byte{'{'}
	if s.Exists() && s.Desired != nil {
		doc = s.Desired.AppendJSON(append(doc, `"desired":`...))
	}
	if s.Exists() && s.Reported != nil {
		if len(doc) > 1 {
			doc = append(doc, ',')
		}
		doc = s.Reported.AppendJSON(append(doc, `"reported":`...))
	}
	return append(doc, '}')
}

// mergePatch returns the RFC 7396 patch from one object to another. Values are taken
// over as bytes, so that numbers stay as they were sent. Members are in order of name.
func mergePatch(a, b []byte) ([]byte, error) {
	var before, after map[string]json.RawMessage
	if err := json.Unmarshal(a, &before); err != nil {
		return nil, fmt.Errorf("compare states: %w", err)
	}
	if err := json.Unmarshal(b, &after); err != nil {
		return nil, fmt.Errorf("compare states: %w", err)
	}
	patch := make(map[string][]byte)
	for name, value := range after {
		old, was := before[name]
		switch {
		case was && bytes.Equal(old, value):
		case was && old[0] == '{' && value[0] == '{':
			inner, err := mergePatch(old, value)
			if err != nil {
				return nil, err
			}
			if len(inner) > len("{}") { // else only the order differs
				patch[name] = inner
			}
		default:
			patch[name] = value
		}
	}
	for name := range before {
		if _, is := after[name]; !is {
			patch[name] = []byte("null")
		}
	}
	return object(patch)
}

func object(members map[string][]byte) ([]byte, error) {
	names := make([]string, 0, len(members))
	for name := range members {
		names = append(names, name)
	}
	slices.Sort(names)
	var out bytes.Buffer
	out.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			out.WriteByte(',')
		}
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		if err := e.Encode(name); err != nil {
			return nil, fmt.Errorf("compare states: %w", err)
		}
		out.Truncate(out.Len() - 1) // the newline
		out.WriteByte(':')
		out.Write(members[name])
	}
	out.WriteByte('}')
	return out.Bytes(), nil
}
