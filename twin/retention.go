package twin

// RecordGroup is the kind of the records that give retention groups to models: by
// model, the number of the group in one byte.
const RecordGroup RecordKind = 24
