package history

import (
	"bytes"
	"context"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Value is what was at a path.
type Value struct {
	JSON  []byte    // compact, as it was sent
	Stamp int64     // when it was last sent, in seconds since the epoch
	Since twin.Time // time of the event after which the shadow was so
	Seq   twin.Seq  // of that event
}

// PathBytesMax is the longest path.
const PathBytesMax = 1024

// checkPath refuses what cannot be a path: the form is that of [twin.Node.Leaves] after
// the section, for example reported.engine.rpm.
func checkPath(path string) error {
	section, rest, _ := strings.Cut(path, ".")
	switch {
	case len(path) > PathBytesMax:
		return invalid("path: %d bytes are over the limit of %d", len(path), PathBytesMax)
	case section != "reported" && section != "desired" || rest == "":
		return invalid("path: %.80q does not name a value in reported or desired, such as reported.temperature", path)
	}
	return nil
}

// InForce returns the value at a path at an instant: what a window that starts then
// begins with. ok is false if there was none. The path must lead to a scalar, an array
// or an empty object.
func (r *Reader) InForce(ctx context.Context, key twin.ShadowKey, path string, t twin.Time) (v Value, ok bool, err error) {
	if err := checkPath(path); err != nil {
		return Value{}, false, err
	}
	s, ev, err := r.state(ctx, key, Point{Time: t})
	if err != nil || !s.Exists() {
		return Value{}, false, err
	}
	v.JSON, v.Stamp, ok = leaf(s, path)
	if !ok {
		return Value{}, false, nil
	}
	v.Since, v.Seq = when(ev), ev.Seq
	return v, true, nil
}

// leaf returns what is at a checked path.
func leaf(s *twin.Shadow, path string) (value []byte, stamp int64, ok bool) {
	if !s.Exists() {
		return nil, 0, false
	}
	section, want, _ := strings.Cut(path, ".")
	n := s.Reported
	if section == "desired" {
		n = s.Desired
	}
	n.Leaves(func(path string, v []byte, at int64) {
		if path == want {
			value, stamp, ok = bytes.Clone(v), at, true
		}
	})
	return value, stamp, ok
}

// numeric reports whether compact JSON is a number.
func numeric(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || '0' <= value[0] && value[0] <= '9')
}
