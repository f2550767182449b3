package twin

import (
	"fmt"
	"maps"

	"github.com/go-json-experiment/json"
)

// Attributes are what is kept of a twin beside its shadows: what an administrator says
// of it, and that its device sends telemetry. They are no part of a shadow.
type Attributes struct {
	Model   string            `json:"model,omitempty"`   // of which kind the thing is; empty: none
	Tags    map[string]string `json:"tags,omitempty"`    // free
	Created Time              `json:"created,omitempty"` // when somebody created the twin; 0: the device did, by its first update
	Found   Time              `json:"found,omitempty"`   // when its first telemetry came; 0: the twin was known before
}

// Limits of attributes.
const (
	ModelBytesMax    = 64
	TagsMax          = 50
	TagKeyBytesMax   = 128
	TagValueBytesMax = 256
)

// Empty reports whether nothing is said.
func (a *Attributes) Empty() bool {
	return a.Model == "" && len(a.Tags) == 0 && a.Created == 0 && a.Found == 0
}

// Clone returns a copy that shares nothing.
func (a *Attributes) Clone() Attributes {
	return Attributes{Model: a.Model, Tags: maps.Clone(a.Tags), Created: a.Created, Found: a.Found}
}

// Check reports what is over a limit, as an error of kind [KindInvalid].
func (a *Attributes) Check() error {
	if a.Model != "" && !validName(a.Model, ModelBytesMax, false) {
		return NewError(KindInvalid, fmt.Sprintf("model: %q is not 1 to %d characters of [a-zA-Z0-9:_-]", clip(a.Model), ModelBytesMax))
	}
	if len(a.Tags) > TagsMax {
		return NewError(KindInvalid, fmt.Sprintf("tags: %d are over the limit of %d", len(a.Tags), TagsMax))
	}
	for k, v := range a.Tags {
		if k == "" || len(k) > TagKeyBytesMax {
			return NewError(KindInvalid, fmt.Sprintf("tags: the key %q is not 1 to %d bytes long", clip(k), TagKeyBytesMax))
		}
		if len(v) > TagValueBytesMax {
			return NewError(KindInvalid, fmt.Sprintf("tags: the value of %q is longer than %d bytes", k, TagValueBytesMax))
		}
	}
	return nil
}

func clip(s string) string {
	const shown = 80
	if len(s) > shown {
		return s[:shown] + "…"
	}
	return s
}

// AppendBinary appends the form in which attributes are kept: JSON, keys in order.
func (a *Attributes) AppendBinary(dst []byte) ([]byte, error) {
	b, err := json.Marshal(a, json.Deterministic(true))
	if err != nil {
		return nil, fmt.Errorf("encode attributes: %w", err)
	}
	return append(dst, b...), nil
}

// DecodeAttributes reads what [Attributes.AppendBinary] wrote.
func DecodeAttributes(b []byte) (Attributes, error) {
	var a Attributes
	if err := json.Unmarshal(b, &a); err != nil {
		return Attributes{}, fmt.Errorf("decode attributes: %w", err)
	}
	return a, nil
}
