package twin

import "github.com/go-json-experiment/json/jsontext"

// deltaOf returns the members of an object desired that reported does not say, and
// whether there are any (spec §6). reported may be nil.
func deltaOf(desired, reported *Node) (d Node, ok bool) {
	if reported == nil {
		return *desired, len(desired.kids) > 0
	}
	look := finder{nodes: reported.kids}
	for i := range desired.kids {
		want := &desired.kids[i]
		at := look.find(want.key)
		switch {
		case at < 0:
			d.kids = append(d.kids, *want) // the whole value, also if it is {}
		case want.kind == kindObject && reported.kids[at].kind == kindObject:
			if inner, ok := deltaOf(want, &reported.kids[at]); ok {
				d.kids = append(d.kids, inner)
			}
		case !equal(want, &reported.kids[at]):
			d.kids = append(d.kids, *want)
		}
	}
	d.key, d.kind = desired.key, kindObject
	return d, len(d.kids) > 0
}

// differs reports whether [deltaOf] has members, without making them.
func differs(desired, reported *Node) bool {
	if desired == nil {
		return false
	}
	if reported == nil {
		return len(desired.kids) > 0
	}
	look := finder{nodes: reported.kids}
	for i := range desired.kids {
		want := &desired.kids[i]
		at := look.find(want.key)
		if at < 0 {
			return true
		}
		have := &reported.kids[at]
		if want.kind == kindObject && have.kind == kindObject {
			if differs(want, have) {
				return true
			}
		} else if !equal(want, have) {
			return true
		}
	}
	return false
}

// equal compares values: numbers by value (row 13), strings by what they decode to,
// arrays element by element in order, objects in arrays whatever their order.
func equal(a, b *Node) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case kindNumber:
		return equalNumbers(a.text, b.text)
	case kindString:
		return equalStrings(a.text, b.text)
	case kindArray:
		if len(a.kids) != len(b.kids) {
			return false
		}
		for i := range a.kids {
			if !equal(&a.kids[i], &b.kids[i]) {
				return false
			}
		}
	case kindObject:
		if len(a.kids) != len(b.kids) {
			return false
		}
		look := finder{nodes: b.kids}
		for i := range a.kids {
			at := look.find(a.kids[i].key)
			if at < 0 || !equal(&a.kids[i], &b.kids[at]) {
				return false
			}
		}
	}
	return true
}

// equalStrings compares two strings as they are written in JSON.
func equalStrings(a, b string) bool {
	if a == b {
		return true
	}
	if !escaped(a) && !escaped(b) {
		return false
	}
	x, errA := jsontext.AppendUnquote(nil, a)
	y, errB := jsontext.AppendUnquote(nil, b)
	return errA == nil && errB == nil && string(x) == string(y)
}

func escaped(text string) bool {
	for i := range len(text) {
		if text[i] == '\\' {
			return true
		}
	}
	return false
}

// Without returns an object without the members that paths name; nil if nothing is left. n is
// not altered.
func (n *Node) Without(paths [][]string) *Node {
	if n == nil || len(paths) == 0 {
		return n
	}
	left := *n
	left.kids = nil
	for i := range n.kids {
		kid, gone := &n.kids[i], false
		var inner [][]string
		for _, p := range paths {
			if p[0] != kid.Name() {
				continue
			}
			if len(p) == 1 {
				gone = true
			} else {
				inner = append(inner, p[1:])
			}
		}
		if gone {
			continue
		}
		if kid.kind == kindObject && inner != nil {
			if kid = kid.Without(inner); kid == nil {
				continue
			}
		}
		left.kids = append(left.kids, *kid)
	}
	if len(left.kids) == 0 {
		return nil
	}
	return &left
}
