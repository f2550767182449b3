package feed

import (
	"slices"

	"github.com/twofold-iot/twofold/twin"
)

// Filter selects events; each empty field lets all pass, and an event must pass
// every field.
type Filter struct {
	Things      []twin.ThingName
	Models      []string
	Kinds       []twin.EventKind
	SeverityMin twin.Severity
	// Path is a dotted path in the state, such as "reported.temperature": events whose
	// patch touches it, or something above or beneath it, pass.
	Path string
}

func (f *Filter) empty() bool {
	return len(f.Things) == 0 && len(f.Models) == 0 && len(f.Kinds) == 0 && f.SeverityMin == 0 && f.Path == ""
}

// Match reports whether an event passes.
func (f *Filter) Match(ev *twin.Event) bool {
	switch {
	case len(f.Things) > 0 && !slices.Contains(f.Things, ev.Thing):
	case len(f.Models) > 0 && !slices.Contains(f.Models, ev.Model):
	case len(f.Kinds) > 0 && !slices.Contains(f.Kinds, ev.Kind):
	case ev.Severity < f.SeverityMin:
	case f.Path != "" && !twin.PatchTouches(ev.Patch, f.Path):
	default:
		return true
	}
	return false
}
