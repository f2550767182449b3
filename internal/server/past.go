package server

import (
	"context"

	"github.com/twofold-iot/twofold/internal/engine"
	"github.com/twofold-iot/twofold/twin"
)

// twins shows the engine to who asks for twins by their attributes.
type twins struct {
	*engine.Engine
}

// managedPage is how many attributes are read at once.
const managedPage = 1000

// Managed lists things that have attributes, of a model if that is not empty.
func (t twins) Managed(ctx context.Context, model string, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	var things []twin.ThingName
	for last := string(after); ; {
		page, err := t.Records(ctx, twin.RecordTwin, "", last, managedPage)
		if err != nil {
			return nil, err
		}
		for _, r := range page {
			last = r.Key
			if model != "" && t.Attributes(twin.ThingName(r.Key)).Model != model {
				continue
			}
			if things = append(things, twin.ThingName(r.Key)); len(things) == limit {
				return things, nil
			}
		}
		if len(page) < managedPage {
			return things, nil
		}
	}
}

// ThingsOfModel lists the things of a model.
func (t twins) ThingsOfModel(ctx context.Context, model string, after twin.ThingName, limit int) ([]twin.ThingName, error) {
	return t.Managed(ctx, model, after, limit)
}
