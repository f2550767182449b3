package twin

// merger applies a request to a shadow (spec §3 "Merge"). New nodes come from one
// slab; subtrees that the request does not name are shared with the old shadow.
type merger struct {
	stamp int64
	slab  []Node
	many  bool // the slab is for other shadows too
}

// mergeSlabLen is how many nodes are allocated at least: about those of the small
// objects in a section.
const mergeSlabLen = 8

func (m *merger) grab(n int) []Node {
	if n > len(m.slab) {
		least := mergeSlabLen
		if m.many {
			least = folderNodes
		}
		m.slab = make([]Node, max(n, least))
	}
	nodes := m.slab[:n:n]
	m.slab = m.slab[n:]
	return nodes
}

// section merges a section. A section that becomes empty is dropped (rule 7), an
// empty one sent is nothing (rule 8), null drops it (rule 3).
func (m *merger) section(old, patch *Node) *Node {
	if patch == nil {
		return old
	}
	if patch.kind == kindNull {
		return nil
	}
	if len(patch.kids) == 0 {
		return old
	}
	var members []Node
	switch {
	case old != nil:
		members = old.kids
	case !m.many:
		m.slab = make([]Node, patch.count()) // all of it is new, and there is no more
	}
	merged := m.members(members, patch.kids)
	if len(merged) == 0 {
		return nil
	}
	n := &m.grab(1)[0]
	n.kind, n.kids = kindObject, merged
	return n
}

// members merges the members of an object (rule 1). Keys keep their place, new ones
// go to the end.
func (m *merger) members(old, patch []Node) []Node {
	room := len(old)
	look := finder{nodes: old}
	var few [32]int32 // most objects have no more members, and this is on the stack
	places := few[:0]
	for i := range patch {
		at := look.find(patch[i].key)
		places = append(places, int32(at))
		if at < 0 && patch[i].kind != kindNull {
			room++
		}
	}
	merged := append(m.grab(room)[:0], old...)
	removed := false
	for i, at := range places {
		p := &patch[i]
		if at < 0 {
			if n, ok := m.fresh(p); ok {
				merged = append(merged, n)
			}
			continue
		}
		switch p.kind {
		case kindNull:
			merged[at].kind = kindNull // rule 2, taken out below
			removed = true
		case kindObject:
			merged[at] = m.onto(&old[at], p)
		default: // as in fresh, but most updates are nothing else, and nodes are large
			n := &merged[at]
			n.kind, n.text, n.kids, n.stamp = p.kind, p.text, p.kids, m.stamp
		}
	}
	if !removed {
		return merged
	}
	kept := merged[:0]
	for i := range merged {
		if merged[i].kind != kindNull {
			kept = append(kept, merged[i])
		}
	}
	clear(merged[len(kept):]) // do not hold on to what was deleted
	return kept
}

// onto returns what is at a key that has a value and is sent another.
func (m *merger) onto(old, patch *Node) Node {
	if patch.kind == kindObject && old.kind == kindObject {
		if len(patch.kids) == 0 {
			return *old // row 12
		}
		// One that is emptied by nulls stays {} (row 11).
		return Node{key: old.key, kind: kindObject, kids: m.members(old.kids, patch.kids)}
	}
	n, ok := m.fresh(patch)
	if !ok {
		// Nothing but nulls sent onto a value that is no object: the type changes
		// (rule 6), to an object emptied by nulls.
		return Node{key: patch.key, kind: kindObject}
	}
	return n
}

// fresh returns what a value sent becomes where nothing was: without its nulls, and
// not at all if there is nothing else in it (row 10). {} is a value (rule 7).
func (m *merger) fresh(patch *Node) (n Node, ok bool) {
	switch patch.kind {
	case kindNull:
		return Node{}, false
	case kindObject:
		members := m.grab(len(patch.kids))[:0]
		for i := range patch.kids {
			if n, ok := m.fresh(&patch.kids[i]); ok {
				members = append(members, n)
			}
		}
		if len(members) == 0 && len(patch.kids) > 0 {
			return Node{}, false
		}
		return Node{key: patch.key, kind: kindObject, kids: members}, true
	}
	n = *patch // an array with all that is in it (rule 5)
	n.stamp = m.stamp
	return n, true
}
