package twin

// Entry is a request to add to a twin's event log something that changes none of its
// shadows: a connect, an error the device reports, an administrative act, a past
// state that comes late.
type Entry struct {
	// Event says what happened. Seq, Time and Model are given by the engine.
	Event Event
	// IfExists: nothing is written for a thing that has no events yet.
	IfExists bool
	// Attributes, if not nil, returns what the twin's attributes become; an error
	// rejects the entry. It is called by a committer, maybe more than once, and must
	// not alter what it is given.
	Attributes func(*Attributes) (Attributes, error)
	// Records, if not nil, returns what is written with the event, in the same commit,
	// and may complete the event, whose seq and time are set; an error rejects the
	// entry. It is called by a committer, maybe more than once, and must not block.
	Records func(*Event) ([]RecordWrite, error)
}

// EntryResult is the outcome of an [Entry].
type EntryResult struct {
	Event   Event // with its seq and time
	Written bool  // false: the thing does not exist, see [Entry]
	Err     error
}
