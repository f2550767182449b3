package rest

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twofold-iot/twofold/internal/history"
	"github.com/twofold-iot/twofold/twin"
)

// How far ahead of now a time may lie. A window may end later (until the end of the
// year, say); a state that is not yet cannot be asked for, but clocks differ a little.
const (
	windowAheadMax = 366 * 24 * time.Hour
	stateAheadMax  = time.Minute
)

// params reads query parameters. The first that is wrong is kept and named.
type params struct {
	values url.Values
	now    time.Time
	err    error
}

func (d *door) params(r *http.Request) *params {
	return &params{values: r.URL.Query(), now: d.opts.Now()}
}

// checkKnown refuses parameters that a route does not have: one that is misspelt would
// give another answer than the one asked for.
func checkKnown(r *http.Request, known []string) error {
	if r.URL.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalidf("the query cannot be read: %v", err)
	}
	for name := range values {
		if slices.Contains(known, name) {
			continue
		}
		if len(known) == 0 {
			return badParam(name, "%q is no parameter here; this route has none", name)
		}
		return badParam(name, "%q is no parameter here; there are %s", name, strings.Join(known, ", "))
	}
	return nil
}

func badParam(name, format string, args ...any) error {
	return &problem{slug: slugInvalid, Detail: fmt.Sprintf(format, args...), Parameter: name}
}

func (p *params) bad(name, format string, args ...any) {
	if p.err == nil {
		p.err = badParam(name, format, args...)
	}
}

func (p *params) text(name string) string { return p.values.Get(name) }

// time reads an instant, zero if it is not given.
func (p *params) time(name string, ahead time.Duration) twin.Time {
	text := p.text(name)
	if text == "" {
		return 0
	}
	t, err := time.Parse(time.RFC3339Nano, text)
	switch {
	case err != nil && strings.Contains(text, " "):
		p.bad(name, "%s: %q is no time; a + in a query must be written as %%2B", name, text)
	case err != nil:
		p.bad(name, "%s: %q is no time such as 2026-11-22T20:25:31Z (RFC 3339)", name, text)
	case t.UnixMilli() < 1:
		p.bad(name, "%s: %s is not after 1970", name, text)
	case t.Sub(p.now) > ahead:
		p.bad(name, "%s: %s is in the future; it is %s now", name, text, p.now.UTC().Format(time.RFC3339))
	default:
		return twin.TimeOf(t)
	}
	return 0
}

// window reads from and to.
func (p *params) window() (from, to twin.Time) {
	from, to = p.time("from", windowAheadMax), p.time("to", windowAheadMax)
	if from != 0 && to != 0 && from > to {
		p.bad("from", "from: %s is after to: %s", p.text("from"), p.text("to"))
	}
	return from, to
}

// number reads a whole number between 1 and max, zero if it is not given.
func (p *params) number(name string, limit uint64) uint64 {
	text := p.text(name)
	if text == "" {
		return 0
	}
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil || n < 1 || n > limit {
		p.bad(name, "%s: %q is not a whole number between 1 and %d", name, text, limit)
		return 0
	}
	return n
}

// versionMax is the greatest version there can be.
const versionMax = 1<<63 - 1

func (p *params) limit(limit int) int { return int(p.number("limit", uint64(limit))) }

// choice reads one of some words; the first is the default.
func (p *params) choice(name string, words ...string) string {
	text := p.text(name)
	if text == "" {
		return words[0]
	}
	if !slices.Contains(words, text) {
		p.bad(name, "%s: %q is none of %s", name, text, strings.Join(words, ", "))
		return words[0]
	}
	return text
}

func (p *params) cursor() history.Cursor { return history.Cursor(p.text("cursor")) }

// point reads a point in the past: name is the parameter, such as at or from. It is an
// instant, or a version as v12.
func (p *params) point(name string) history.Point {
	text := p.text(name)
	if digits, ok := strings.CutPrefix(text, "v"); ok {
		n, err := strconv.ParseUint(digits, 10, 63)
		if err != nil || n == 0 {
			p.bad(name, "%s: %q is no version such as v12", name, text)
		}
		return history.Point{Version: twin.Version(n)}
	}
	return history.Point{Time: p.time(name, stateAheadMax)}
}

// pastError names the parameter that a fault of the past is about.
func pastError(err error) error {
	if twin.Kind(err) != twin.KindInvalid {
		return err
	}
	message := twin.ErrorMessage(err)
	if strings.HasPrefix(message, "The cursor") {
		return badParam("cursor", "%s", message)
	}
	if name, _, ok := strings.Cut(message, ":"); ok && len(name) < 16 && !strings.Contains(name, " ") {
		return badParam(name, "%s", message)
	}
	return err
}
