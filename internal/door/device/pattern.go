package device

import (
	"fmt"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Limits of patterns.
const (
	PatternsMax     = 64
	patternBytesMax = 1024
)

// Pattern says which topics carry telemetry, beside twins/{thing}/telemetry, and what
// their levels mean: text stands for itself, + for any one level, {thing} for the
// thing, {metric} for the metric, and a # at the end for any levels more, which are
// part of the metric too. So dt/+/{thing}/# takes dt/hh1/pump-7/motor/speed as the
// metric motor.speed of pump-7.
type Pattern struct {
	text   string
	levels []level
	rest   bool // ends with #
}

type level struct {
	kind levelKind
	text string
}

type levelKind uint8

const (
	levelText levelKind = iota
	levelAny
	levelThing
	levelMetric
)

// ParsePattern parses a pattern; the error says what is wrong and what to do.
func ParsePattern(text string) (Pattern, error) {
	p := Pattern{text: text}
	bad := func(format string, args ...any) (Pattern, error) {
		return Pattern{}, fmt.Errorf("topic pattern %.80q: "+format, append([]any{text}, args...)...)
	}
	switch {
	case text == "":
		return bad("it is empty; use something like dt/+/{thing}/#")
	case len(text) > patternBytesMax:
		return bad("it has %d bytes, the limit is %d", len(text), patternBytesMax)
	case strings.HasPrefix(text, "$"):
		return bad("topics that begin with $ belong to the server")
	case text == strings.TrimSuffix(prefix, "/") || strings.HasPrefix(text, prefix):
		return bad("topics below %s are taken; %s{thing}/telemetry is telemetry in any case", prefix, prefix)
	}
	all := strings.Split(text, "/")
	for i, s := range all {
		l := level{kind: levelText, text: s}
		switch {
		case s == "#" && i == len(all)-1:
			p.rest = true
			continue
		case s == "+":
			l.kind = levelAny
		case s == "{thing}":
			l.kind = levelThing
		case s == "{metric}":
			l.kind = levelMetric
		case s == "#":
			return bad("# stands only at the end")
		case strings.ContainsAny(s, "+#{}\x00"):
			return bad("level %d, %q: +, #, {thing} and {metric} each fill a level of their own", i+1, s)
		}
		if (l.kind == levelThing || l.kind == levelMetric) && slices.Contains(p.levels, l) {
			return bad("%s is there twice", s)
		}
		p.levels = append(p.levels, l)
	}
	if !slices.Contains(p.levels, level{levelThing, "{thing}"}) {
		return bad("{thing} is missing: the level with the name of the thing")
	}
	return p, nil
}

// String returns the pattern as it was written.
func (p Pattern) String() string { return p.text }

// Match returns what a topic says: the thing, and the metric if the pattern names one.
// A topic whose thing is no thing name does not match, nor does one that is the
// server's own.
func (p Pattern) Match(topic string) (thing twin.ThingName, metric twin.MetricName, ok bool) {
	if strings.HasPrefix(topic, "$") || strings.HasPrefix(topic, prefix) {
		return "", "", false
	}
	left, more := topic, true
	for _, l := range p.levels {
		if !more {
			return "", "", false
		}
		var s string
		s, left, more = strings.Cut(left, "/")
		switch {
		case l.kind == levelText && s != l.text:
			return "", "", false
		case l.kind == levelThing:
			thing = twin.ThingName(s)
		case l.kind == levelMetric:
			metric = twin.MetricName(s)
		}
	}
	if more && !p.rest || !thing.Valid() {
		return "", "", false
	}
	if !more || left == "" {
		return thing, metric, true
	}
	rest := twin.MetricName(strings.ReplaceAll(left, "/", "."))
	if metric != "" {
		rest = metric + "." + rest
	}
	return thing, rest, true
}

// patterns are tried in order.
type patterns []Pattern

func (ps patterns) match(topic string) (thing twin.ThingName, metric twin.MetricName, ok bool) {
	for _, p := range ps {
		if thing, metric, ok = p.Match(topic); ok {
			return thing, metric, true
		}
	}
	return "", "", false
}
