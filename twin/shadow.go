package twin

// Node is a JSON value in a shadow.
type Node struct{}

// Shadow is one shadow document at one version. It is immutable: a change makes a
// new one.
type Shadow struct {
	Version   Version
	Desired   *Node // nil: the section is absent
	Reported  *Node
	DeletedAt Time // set: a tombstone, kept so that versions go on
}

// Exists reports whether there is a document: s is neither nil nor a tombstone.
func (s *Shadow) Exists() bool { return s != nil && s.DeletedAt == 0 }

// AppendBinary appends the encoding that is stored; layout in docs/format/shadow.md.
func (s *Shadow) AppendBinary(dst []byte) []byte { panic("pending") }

// DecodeShadow reads what [Shadow.AppendBinary] wrote. The shadow shares the memory of b.
func DecodeShadow(b []byte) (*Shadow, error) { panic("pending") }

// Limits of a shadow. The zero value of a field means its default.
type Limits struct {
	DocumentBytesMax int // compact JSON of desired plus reported after the merge; 8192
	DepthMax         int // 8
	TokenBytesMax    int // 64
}

// Request is a parsed update request (or the clientToken of a get or delete).
type Request struct {
	ClientToken string
	HasToken    bool
	// unexported: version, sections, raw state
}

// ParseRequest parses the body of an update. When it fails, the returned Request
// is not nil and carries the clientToken if that could be read, to be echoed.
func ParseRequest(payload []byte, lim Limits) (*Request, error) { panic("pending") }

// ParseToken reads the clientToken of a get or delete body, which may be empty.
func ParseToken(payload []byte, lim Limits) (*Request, error) { panic("pending") }

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
// not alter prev.
func NewChange(key ShadowKey, prev *Shadow, req *Request, now Time, lim Limits) (*Change, error) {
	panic("pending")
}

// NewDelete deletes a shadow. One that does not exist is [KindNotFound].
func NewDelete(key ShadowKey, prev *Shadow, req *Request, now Time) (*Change, error) {
	panic("pending")
}

// Patch returns the "state" value of the request as compact JSON, for the event.
func (c *Change) Patch() []byte { panic("pending") }

// HasDelta reports whether desired asks for something reported does not say.
func (c *Change) HasDelta() bool { panic("pending") }

// AppendAccepted appends the update/accepted or delete/accepted document.
func (c *Change) AppendAccepted(dst []byte) []byte { panic("pending") }

// AppendDelta appends the update/delta document; only if HasDelta.
func (c *Change) AppendDelta(dst []byte) []byte { panic("pending") }

// AppendDocuments appends the update/documents document.
func (c *Change) AppendDocuments(dst []byte) []byte { panic("pending") }

// AppendGet appends the get/accepted document of a shadow that exists. req may be nil.
func AppendGet(dst []byte, s *Shadow, now Time, req *Request) []byte { panic("pending") }

// ErrNoShadow is the error for a shadow that does not exist.
func ErrNoShadow(key ShadowKey) error {
	return NewError(KindNotFound, "No shadow exists with name: '"+key.String()+"'")
}
