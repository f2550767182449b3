package twin

// RecordKind names a family of small records that a door or the engine keeps in
// the store beside the twins. The numbers are on disk: never reuse one.
type RecordKind uint8

// The kinds of record.
const (
	RecordSession     RecordKind = 1  // MQTT session, by client id
	RecordMessage     RecordKind = 2  // body of a message queued for several sessions, by message id
	RecordQueued      RecordKind = 3  // one entry of a session's queue, by client id and number
	RecordRetained    RecordKind = 4  // retained message, by topic
	RecordIdempotency RecordKind = 5  // answer to an HTTP Idempotency-Key
	RecordTwin        RecordKind = 6  // attributes of a twin, by thing
	RecordMirror      RecordKind = 7  // what is known of a mirrored shadow, see [MirrorHead]
	RecordCommand     RecordKind = 8  // command that has not ended, by thing and number, see [CommandKey]
	RecordCommandPast RecordKind = 9  // command that has ended, the same
	RecordCommandID   RecordKind = 10 // number of a command, by thing and id, see [CommandIDKey]
	RecordWebhook     RecordKind = 12 // webhook and where it stands, see docs/format/webhook.md
	RecordDeadLetter  RecordKind = 13 // what a webhook could not deliver
	RecordJob         RecordKind = 16 // job, by id
	RecordExecution   RecordKind = 17 // execution of a job, see [JobExecutionKey]
	RecordThingJob    RecordKind = 18 // that a thing has an execution of a job, see [ThingJobKey]
	RecordJobTargets  RecordKind = 19 // things that a job is for, see [JobTargetsKey]
	RecordArtifact    RecordKind = 20 // artifact, by name
	RecordPart        RecordKind = 21 // part of the content of an artifact, see [ArtifactPartKey]
	RecordMemory      RecordKind = 26 // what a model keeps of a thing, by thing, see docs/format/model.md
	RecordLiveGroup   RecordKind = 27 // live group, by name, see docs/format/group.md
	RecordMember      RecordKind = 28 // that a twin is a member of one, by group, a slash and thing
	RecordAction      RecordKind = 29 // how far the feed has been read for what behaviours ask for
	RecordThingType   RecordKind = 30 // thing type of the AWS registry, by name, see docs/format/thing-type.md
	RecordIntents     RecordKind = 31 // what is asked of a thing by a shadow, by thing and shadow, see docs/format/intent.md
	RecordPredictor   RecordKind = 32 // what is learned of the measurements of a thing, by thing, see docs/format/predict.md
	RecordModel       RecordKind = 25 // version of a model, by name and number, see docs/format/model.md
)

// Revision is the log position at which a record was last written.
type Revision uint64

// What a [RecordWrite] may expect beside an exact revision.
const (
	RevisionAny    Revision = 0            // write whatever is there
	RevisionAbsent Revision = ^Revision(0) // write only if there is none
)

// Record is a small keyed value with the revision of its last write.
type Record struct {
	Kind     RecordKind
	Key      string
	Value    []byte
	Revision Revision
}

// RecordWrite puts or deletes a record. It rides in the same commit as the change
// that caused it.
type RecordWrite struct {
	Kind   RecordKind
	Key    string
	Value  []byte // nil deletes
	Expect Revision
}
