package twin

// Change is an accepted change of a shadow.
type Change struct {
	Key      ShadowKey
	Kind     EventKind
	Time     Time
	Previous *Shadow // nil: the shadow was created by this change
	Current  *Shadow // for a delete, the tombstone
	Version  Version // the version to tell clients
	Request  *Request
}

// NewChange applies a request to the current shadow (nil: never existed). It does
// not alter prev, nor req, which may be applied again to another version.
//
// The errors are of kind [KindConflict], if the request names a version that is not
// the current one, and [KindTooLarge], in this order.
func NewChange(key ShadowKey, prev *Shadow, req *Request, now Time, lim Limits) (*Change, error) {
	lim = lim.WithDefaults()
	if prev.Expired(now) {
		prev = nil
	}
	if req.hasVersion && !fits(prev, req.version) {
		return nil, NewError(KindConflict, "Version conflict")
	}
	if req.oversize {
		return nil, errTooLarge()
	}
	next := &Shadow{Version: 1}
	if prev != nil {
		next.Version = prev.Version + 1
		next.Desired, next.Reported = prev.Desired, prev.Reported
	}
	req.apply(next, now)
	if next.JSONBytes() > lim.DocumentBytesMax {
		return nil, errTooLarge()
	}
	if !prev.Exists() {
		prev = nil // row 16: one that was deleted is created, too
	}
	return &Change{
		Key: key, Kind: EventUpdated, Time: now,
		Previous: prev, Current: next, Version: next.Version, Request: req,
	}, nil
}

// fits reports whether a request may ask for a version (spec §5). Of a shadow that
// never was, 0 and 1 do (row 6); a tombstone counts.
func fits(prev *Shadow, v Version) bool {
	if prev == nil {
		return v <= 1
	}
	return v == prev.Version
}

// apply merges the request into a shadow that is being made.
func (r *Request) apply(next *Shadow, now Time) {
	if r.state == nil {
		return
	}
	m := merger{stamp: now.Seconds()}
	m.apply(next, r.state)
}

// apply merges what was sent into a shadow that is being made.
func (m *merger) apply(next *Shadow, state *Node) {
	if state.kind == kindNull {
		next.Desired, next.Reported = nil, nil // rule 4
		return
	}
	next.Desired = m.section(next.Desired, state.find(keyDesired))
	next.Reported = m.section(next.Reported, state.find(keyReported))
}

const (
	keyDesired  = `"desired"`
	keyReported = `"reported"`
)

// NewDelete deletes a shadow. One that does not exist is [KindNotFound]. The answer
// carries the version that was deleted, the tombstone the next one, so that the
// first update after it gets the one after that (spec §5, row 5).
func NewDelete(key ShadowKey, prev *Shadow, req *Request, now Time) (*Change, error) {
	if !prev.Exists() {
		return nil, ErrNoShadow(key)
	}
	// AWS ignores what is in the body of a delete, and so does [ParseToken]; a door
	// that has If-Match asks with [ExpectVersion].
	if v, ok := req.ExpectedVersion(); ok && v != prev.Version {
		return nil, NewError(KindConflict, "Version conflict")
	}
	return &Change{
		Key: key, Kind: EventDeleted, Time: now,
		Previous: prev, Current: &Shadow{Version: prev.Version + 1, DeletedAt: now},
		Version: prev.Version, Request: req,
	}, nil
}

// Patch returns the "state" value of the request as compact JSON, for the event;
// nil for a delete. Its values are written as they were sent. The bytes belong to
// the request: nobody writes to them.
func (c *Change) Patch() []byte {
	if c.Kind == EventDeleted {
		return nil
	}
	return c.Request.text
}

// HasDelta reports whether desired asks for something reported does not say. It is
// false for a delete.
func (c *Change) HasDelta() bool { return differs(c.Current.Desired, c.Current.Reported) }

func errTooLarge() error {
	return NewError(KindTooLarge, "The payload exceeds the maximum size allowed")
}
