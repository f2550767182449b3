package twin_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/twofold-iot/twofold/twin"
)

// model is a shadow service written as naively as the contract reads: maps, one for
// the state and one for the metadata of each section, and nothing shared. The real
// one is compared with it.
type model struct {
	version  uint64
	exists   bool
	deleted  int64 // milliseconds; set while there is a tombstone
	desired  section
	reported section
}

type section struct{ state, meta object }

// object is a JSON object; values are object, array, text, bool or nil.
type (
	object = map[string]any
	array  = []any
	text   string // a number or string, as it is written
)

// plain decodes JSON and keeps numbers and strings as they are written.
func plain(raw []byte) any {
	switch raw[0] {
	case '{':
		var members map[string]json.RawMessage
		must(json.Unmarshal(raw, &members))
		o := object{}
		for k, v := range members {
			o[k] = plain(v)
		}
		return o
	case '[':
		var elements []json.RawMessage
		must(json.Unmarshal(raw, &elements))
		a := array{}
		for _, v := range elements {
			a = append(a, plain(v))
		}
		return a
	case 'n':
		return nil
	case 't', 'f':
		return raw[0] == 't'
	}
	return text(raw)
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func stamp(now int64) object { return object{"timestamp": text(strconv.FormatInt(now/1000, 10))} }

// stamps is the metadata of a value all of which was sent now.
func stamps(v any, now int64) any {
	switch v := v.(type) {
	case object:
		o := object{}
		for k := range v {
			o[k] = stamps(v[k], now)
		}
		return o
	case array:
		a := array{}
		for i := range v {
			a = append(a, stamps(v[i], now))
		}
		return a
	}
	return stamp(now)
}

// copyOf shares nothing with v.
func copyOf(v any) any {
	switch v := v.(type) {
	case object:
		if v == nil {
			return object(nil)
		}
		o := object{}
		for k := range v {
			o[k] = copyOf(v[k])
		}
		return o
	case array:
		a := array{}
		for i := range v {
			a = append(a, copyOf(v[i]))
		}
		return a
	}
	return v
}

func merge(state, meta, patch object, now int64) {
	for k, v := range patch {
		if v == nil {
			delete(state, k)
			delete(meta, k)
			continue
		}
		sent, isObject := v.(object)
		if !isObject {
			state[k], meta[k] = copyOf(v), stamps(v, now)
			continue
		}
		if have, ok := state[k].(object); ok {
			merge(have, meta[k].(object), sent, now)
			continue
		}
		kept, some := withoutNulls(sent)
		if _, there := state[k]; some || there {
			state[k], meta[k] = kept, stamps(kept, now)
		}
	}
}

// withoutNulls also tells whether anything is left, {} being something.
func withoutNulls(v object) (object, bool) {
	kept := object{}
	for k, v := range v {
		if o, ok := v.(object); ok {
			if o, some := withoutNulls(o); some {
				kept[k] = o
			}
		} else if v != nil {
			kept[k] = copyOf(v)
		}
	}
	return kept, len(kept) > 0 || len(v) == 0
}

func (s *section) merge(patch any, sent bool, now int64) {
	if !sent {
		return
	}
	if patch == nil {
		*s = section{}
		return
	}
	if s.state == nil {
		s.state, s.meta = object{}, object{}
	}
	merge(s.state, s.meta, patch.(object), now)
	if len(s.state) == 0 {
		*s = section{}
	}
}

func (s section) copy() section {
	return section{copyOf(s.state).(object), copyOf(s.meta).(object)}
}

// size is the length of compact JSON.
func size(v any) int {
	switch v := v.(type) {
	case object:
		n := 2 + max(0, len(v)-1)
		for k := range v {
			n += len(quoted(k)) + 1 + size(v[k])
		}
		return n
	case array:
		n := 2 + max(0, len(v)-1)
		for i := range v {
			n += size(v[i])
		}
		return n
	case text:
		return len(v)
	case bool:
		return len(strconv.FormatBool(v))
	}
	return len("null")
}

func (s section) size() int {
	if s.state == nil {
		return 0
	}
	return size(s.state)
}

// update returns the error kind, or -1 and the model after the update.
func (m model) update(request object, now int64, bytesMax int) (model, twin.ErrorKind, bool) {
	if !m.exists && m.deleted != 0 && now-m.deleted >= 48*3600*1000 {
		m = model{}
	}
	if v, ok := request["version"].(text); ok {
		want, err := strconv.ParseUint(string(v), 10, 64)
		must(err)
		never := !m.exists && m.deleted == 0
		if want != m.version && (!never || want > 1) {
			return m, twin.KindConflict, false
		}
	}
	next := model{version: m.version + 1, exists: true, desired: m.desired.copy(), reported: m.reported.copy()}
	if request["state"] == nil {
		next.desired, next.reported = section{}, section{}
	} else {
		state := request["state"].(object)
		desired, sent := state["desired"]
		next.desired.merge(desired, sent, now)
		reported, sent := state["reported"]
		next.reported.merge(reported, sent, now)
	}
	if next.desired.size()+next.reported.size() > bytesMax {
		return m, twin.KindTooLarge, false
	}
	return next, 0, true
}

func (m model) delete(now int64) (model, bool) {
	if !m.exists {
		return m, false
	}
	return model{version: m.version + 1, deleted: now}, true
}

// document is a shadow in update/documents.
func (m model) document() object {
	state, meta := object{}, object{}
	if m.desired.state != nil {
		state["desired"], meta["desired"] = m.desired.state, m.desired.meta
	}
	if m.reported.state != nil {
		state["reported"], meta["reported"] = m.reported.state, m.reported.meta
	}
	return object{"state": state, "metadata": meta, "version": text(strconv.FormatUint(m.version, 10))}
}

func (m model) get(now int64) object {
	d := m.document()
	if diff, _ := m.delta(); len(diff) > 0 {
		d["state"].(object)["delta"] = diff
	}
	d["timestamp"] = stamp(now)["timestamp"]
	return d
}

func (m model) delta() (state, meta object) {
	return delta(m.desired.state, m.reported.state, m.desired.meta)
}

func delta(desired, reported, meta object) (diff, diffMeta object) {
	diff, diffMeta = object{}, object{}
	for k, want := range desired {
		have, there := reported[k]
		wantObject, a := want.(object)
		haveObject, b := have.(object)
		switch {
		case a && b:
			if d, dm := delta(wantObject, haveObject, meta[k].(object)); len(d) > 0 {
				diff[k], diffMeta[k] = d, dm
			}
		case !there || !sameValue(want, have):
			diff[k], diffMeta[k] = want, meta[k]
		}
	}
	return diff, diffMeta
}

func sameValue(a, b any) bool {
	switch a := a.(type) {
	case object:
		b, ok := b.(object)
		return ok && maps.EqualFunc(a, b, sameValue)
	case array:
		b, ok := b.(array)
		return ok && slices.EqualFunc(a, b, sameValue)
	case text:
		b, ok := b.(text)
		if !ok || (a[0] == '"') != (b[0] == '"') {
			return false
		}
		if a[0] == '"' {
			var x, y string
			must(json.Unmarshal([]byte(a), &x))
			must(json.Unmarshal([]byte(b), &y))
			return x == y
		}
		return number(a).Cmp(number(b)) == 0
	}
	return a == b
}

func number(t text) *big.Rat {
	r, ok := new(big.Rat).SetString(string(t))
	if !ok {
		panic(fmt.Sprintf("not a number: %s", t))
	}
	return r
}
