package twin

// Shadow is one shadow document at one version. It is immutable: a change makes a
// new one.
type Shadow struct {
	Version   Version
	Desired   *Node // nil: the section is absent
	Reported  *Node
	DeletedAt Time // set: a tombstone, kept so that versions go on
}

// TombstoneKeep is how long a deleted shadow's version is remembered, in
// milliseconds: 48 hours. An update after that starts at version 1 again (AWS
// Developer Guide, "Shadow service data flow").
const TombstoneKeep Time = 48 * 60 * 60 * 1000

// Exists reports whether there is a document: s is neither nil nor a tombstone.
func (s *Shadow) Exists() bool { return s != nil && s.DeletedAt == 0 }

// NewestStamp returns when anything in the shadow was last sent, in seconds since the
// epoch; 0 if there is nothing.
func (s *Shadow) NewestStamp() int64 {
	if !s.Exists() {
		return 0
	}
	return max(s.Desired.NewestStamp(), s.Reported.NewestStamp())
}

// Expired reports whether s is a tombstone whose version is forgotten at now, so
// that it is as if the shadow had never been.
func (s *Shadow) Expired(now Time) bool {
	return s != nil && s.DeletedAt != 0 && now-s.DeletedAt >= TombstoneKeep
}

// Delta returns what desired asks and reported does not say, with the times of
// desired; nil if there is nothing (spec §6).
func (s *Shadow) Delta() *Node {
	if s == nil || s.Desired == nil {
		return nil
	}
	d, ok := deltaOf(s.Desired, s.Reported)
	if !ok {
		return nil
	}
	return &d
}

// JSONBytes is the size that [Limits].DocumentBytesMax limits.
func (s *Shadow) JSONBytes() int {
	if s == nil {
		return 0
	}
	return s.Desired.jsonBytes() + s.Reported.jsonBytes()
}

// Limits of a shadow. The zero value of a field means its default.
type Limits struct {
	// DocumentBytesMax limits the compact JSON of desired plus that of reported, after
	// the merge; 8192.
	DocumentBytesMax int
	// DepthMax limits the levels of a section, the section itself being the first;
	// 8. More than [DepthLimit] counts as that.
	DepthMax int
	// TokenBytesMax limits the clientToken; 64.
	TokenBytesMax int
}

// DepthLimit is the most [Limits].DepthMax can be, and the depth at which the
// reader stops altogether, also in parts of a request that are ignored.
const DepthLimit = 128

// WithDefaults returns the limits in force.
func (l Limits) WithDefaults() Limits {
	if l.DocumentBytesMax <= 0 {
		l.DocumentBytesMax = 8192
	}
	if l.DepthMax <= 0 {
		l.DepthMax = 8
	}
	l.DepthMax = min(l.DepthMax, DepthLimit)
	if l.TokenBytesMax <= 0 {
		l.TokenBytesMax = 64
	}
	return l
}

// ErrNoShadow is the error for a shadow that does not exist.
func ErrNoShadow(key ShadowKey) error {
	return NewError(KindNotFound, "No shadow exists with name: '"+key.String()+"'")
}
