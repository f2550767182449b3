package engine

import (
	"context"
	"fmt"
	"sync"

	"github.com/twofold-iot/twofold/twin"
)

// attributeTable holds the durable attributes of every twin that has any. All are in
// memory: each event carries its twin's model, and queries over the fleet ask for
// model and tags.
type attributeTable struct {
	mu sync.RWMutex
	m  map[twin.ThingName]*twin.Attributes
}

var noAttributes = &twin.Attributes{} //nolint:gochecknoglobals // read only

// of returns the attributes of a thing, never nil and never to be altered.
func (a *attributeTable) of(thing twin.ThingName) *twin.Attributes {
	a.mu.RLock()
	defer a.mu.RUnlock()
	if at := a.m[thing]; at != nil {
		return at
	}
	return noAttributes
}

func (a *attributeTable) set(thing twin.ThingName, at *twin.Attributes) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if at.Empty() {
		delete(a.m, thing)
		return
	}
	a.m[thing] = at
}

const attributesPage = 1000

func (e *Engine) loadAttributes() error {
	e.attributes.m = make(map[twin.ThingName]*twin.Attributes)
	for after := ""; ; {
		page, err := e.Records(context.Background(), twin.RecordTwin, "", after, attributesPage)
		if err != nil {
			return fmt.Errorf("read attributes: %w", err)
		}
		for _, r := range page {
			at, err := twin.DecodeAttributes(r.Value)
			if err != nil {
				return fmt.Errorf("read attributes of %s: %w", r.Key, err)
			}
			e.attributes.m[twin.ThingName(r.Key)] = &at
			after = r.Key
		}
		if len(page) < attributesPage {
			return nil
		}
	}
}

// Attributes returns the durable attributes of a thing; they are not to be altered.
func (e *Engine) Attributes(thing twin.ThingName) *twin.Attributes { return e.attributes.of(thing) }

func attributesRecord(thing twin.ThingName, at *twin.Attributes) (twin.RecordWrite, error) {
	w := twin.RecordWrite{Kind: twin.RecordTwin, Key: string(thing)}
	if at.Empty() {
		return w, nil
	}
	v, err := at.AppendBinary(nil)
	w.Value = v
	return w, err
}
