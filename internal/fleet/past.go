package fleet

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Rebuild makes an index of the twins as they were at an instant.
type Rebuild func(ctx context.Context, at twin.Time) (*Index, error)

// keepPast is how long an index of the past is kept, for the next page.
const keepPast = time.Minute

// pastsMax is how many indexes of the past are kept: those of a comparison.
const pastsMax = 2

// pasts keeps the indexes of the past that were asked for last.
type pasts struct {
	mu   sync.Mutex
	kept []past // the one that was asked for last at the end
	drop *time.Timer
}

type past struct {
	at    twin.Time
	index *Index
}

func (p *pasts) get(ctx context.Context, at twin.Time, rebuild Rebuild) (*Index, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	var have past
	if i := slices.IndexFunc(p.kept, func(x past) bool { return x.at == at }); i >= 0 {
		have = p.kept[i]
		p.kept = slices.Delete(p.kept, i, i+1)
	} else {
		if len(p.kept) == pastsMax {
			p.kept = slices.Delete(p.kept, 0, 1) // its memory is free before another is made
		}
		index, err := rebuild(ctx, at)
		if err != nil {
			return nil, err
		}
		have = past{at, index}
	}
	p.kept = append(p.kept, have)
	if p.drop != nil {
		p.drop.Stop()
	}
	p.drop = time.AfterFunc(keepPast, p.forget)
	return have.index, nil
}

func (p *pasts) forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.kept = nil
}

// ofPast are the names that are known of the past.
var ofPast = []string{"id", "model", "tags", "reported", "desired", "delta", "computed", "driftSince", "version", "now"}

// instant reads the time of a request; 0: the present.
func (e *Engine) instant(at string, list []*expression) (twin.Time, error) {
	if at == "" {
		return 0, nil
	}
	t, err := time.Parse(time.RFC3339Nano, at)
	switch {
	case err != nil:
		return 0, &Error{"/at", fmt.Sprintf("%.60q is no time such as 2026-11-22T20:25:31Z (RFC 3339)", at)}
	case t.UnixMilli() < 1 || twin.TimeOf(t) > e.Now():
		return 0, &Error{"/at", fmt.Sprintf("%.60s is not in the past", at)}
	case e.Rebuild == nil:
		return 0, &Error{"/at", "the past is not kept here"}
	}
	for _, x := range list {
		if x == nil {
			continue
		}
		for _, p := range x.program.Reads() {
			if !slices.Contains(ofPast, p[0]) {
				return 0, &Error{"/at", fmt.Sprintf("%s is of the present only; the past has id, model, tags (as they are now), reported, desired, delta, computed and driftSince", p[0])}
			}
		}
	}
	return twin.TimeOf(t), nil
}

// lock returns the index that a query is about, locked for reading, and the time that now
// is in it. The caller unlocks it.
func (e *Engine) lock(ctx context.Context, at twin.Time) (*Index, twin.Time, error) {
	index, now := e.Index, at
	if at == 0 {
		now = e.Now()
	} else {
		var err error
		if index, err = e.past.get(ctx, at, e.Rebuild); err != nil {
			return nil, 0, err
		}
	}
	index.bring(ctx)
	index.mu.RLock()
	return index, now, nil
}
