package webhook

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"

	"github.com/twofold-iot/twofold/internal/feed"
	"github.com/twofold-iot/twofold/twin"
)

// recordFormat is the first byte of each record; docs/format/webhook.md has the rest.
const recordFormat = 1

// definition is what a webhook was made of.
type definition struct {
	twin.Webhook
	ID      string    `json:"id"` // made once; part of the ids of its requests
	Secret  []byte    `json:"secret"`
	Created twin.Time `json:"created"`
}

// place is where a webhook is in the feed.
type place struct {
	Cursor feed.Cursor `json:"cursor"`         // all up to it are settled
	UpTo   feed.Cursor `json:"upTo,omitempty"` // end of the batch that is being sent; 0: none
	Missed uint64      `json:"missed,omitempty"`
}

// Keys: a webhook is kept under its name, its place under the name and a zero byte, a dead
// letter under that and its position.
func placeKey(name twin.WebhookName) string { return string(name) + "\x00" }

func deadKey(name twin.WebhookName, upTo uint64) string {
	return placeKey(name) + fmt.Sprintf("%016x", upTo)
}

// messageID is the webhook-id of a batch. The receiver knows a repeat by it.
func messageID(hook string, upTo feed.Cursor) string {
	return "msg_" + hook + "_" + strconv.FormatUint(uint64(upTo), 36)
}

func encodeRecord(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic("record of a webhook: " + err.Error()) // strings and numbers always marshal
	}
	return append([]byte{recordFormat}, b...)
}

func decodeRecord(b []byte, v any) error {
	if len(b) == 0 || b[0] != recordFormat {
		return errors.New("the record has a format that this version does not know")
	}
	d := json.NewDecoder(bytes.NewReader(b[1:]))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return fmt.Errorf("decode a record: %w", err)
	}
	return nil
}

// filterOf returns the filter of the feed for that of a webhook, which has been checked.
func filterOf(f *twin.WebhookFilter) feed.Filter {
	g := feed.Filter{Things: f.Things, Models: f.Models, Path: f.Path}
	g.SeverityMin, _ = twin.ParseSeverity(f.Severity)
	for _, name := range f.Kinds {
		k, _ := twin.ParseEventKind(name)
		g.Kinds = append(g.Kinds, k)
	}
	return g
}
