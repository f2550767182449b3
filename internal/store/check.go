package store

import (
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// Limits of one commit. What is over one is of kind KindInvalid.
const (
	// CommitMutationsMax is the most mutations in one commit.
	CommitMutationsMax = 1 << 16
	// CommitBytesMax is the most bytes of events, documents, keys and values in one
	// commit.
	CommitBytesMax = 256 << 20
	// RecordKeyBytesMax is the longest key of a record: a longest MQTT string
	// (65,535 bytes) with some room for what is put before and after it.
	RecordKeyBytesMax = 70_000
)

// Check reports what is wrong with the mutations of a commit, as an error of kind
// KindInvalid. Every store calls it first, so that all refuse the same.
func Check(ms []Mutation) error {
	if len(ms) > CommitMutationsMax {
		return invalid("a commit of %d mutations is over the limit of %d", len(ms), CommitMutationsMax)
	}
	var size int
	for i := range ms {
		n, err := ms[i].check()
		if err != nil {
			return fmt.Errorf("mutation %d: %w", i, err)
		}
		size += n
	}
	if size > CommitBytesMax {
		return invalid("a commit of %d bytes is over the limit of %d", size, CommitBytesMax)
	}
	return nil
}

// check returns the size of the mutation.
func (m *Mutation) check() (int, error) {
	size := len(m.Event) + len(m.Doc)
	switch {
	case m.Thing == "" && len(m.Records) == 0:
		return 0, invalid("it writes nothing")
	case m.Thing == "" && (size != 0 || m.Shadow != "" || m.Anchor.Seq != 0):
		return 0, invalid("it has an event or a shadow but no thing")
	case m.Thing == "":
	case !m.Thing.Valid() && !m.Thing.IsModelLog():
		return 0, invalid("%.140q is no thing name", string(m.Thing))
	case m.Shadow != "" && !m.Shadow.Valid():
		return 0, invalid("%.140q is no shadow name", string(m.Shadow))
	case len(m.Event) == 0:
		return 0, invalid("the event of %s is empty", m.Thing)
	case len(m.Doc) == 0 && (m.Live || m.Info != ShadowInfo{}):
		return 0, invalid("the shadow of %s is empty", m.Thing)
	case m.Head.Seq != m.Expect+1:
		return 0, invalid("the head of %s is at %d after one at %d", m.Thing, m.Head.Seq, m.Expect)
	case m.Class > classMax:
		return 0, invalid("the class %d of an event of %s is unknown", m.Class, m.Thing)
	case m.Anchor.Seq > m.Expect:
		return 0, invalid("the anchor of %s at %d is not before the event", m.Thing, m.Anchor.Seq)
	case m.Head.Time < 0:
		return 0, invalid("the time of %s is before 1970", m.Thing)
	}
	for _, w := range m.Records {
		if w.Key == "" || len(w.Key) > RecordKeyBytesMax {
			return 0, invalid("a record key of %d bytes is not within 1 and %d", len(w.Key), RecordKeyBytesMax)
		}
		size += len(w.Key) + len(w.Value)
	}
	return size, nil
}

// CheckLimit refuses a limit that is not positive.
func CheckLimit(limit int) error {
	if limit <= 0 {
		return invalid("a limit of %d is not positive", limit)
	}
	return nil
}

// Expected reports whether a record at a revision (ok: it exists) is as the write
// expects.
func Expected(expect, revision twin.Revision, ok bool) bool {
	switch expect {
	case twin.RevisionAny:
		return true
	case twin.RevisionAbsent:
		return !ok
	}
	return ok && revision == expect
}

func invalid(format string, args ...any) error {
	return twin.NewError(twin.KindInvalid, fmt.Sprintf(format, args...))
}
