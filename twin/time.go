package twin

import "time"

// Time is an instant in milliseconds since the Unix epoch, UTC. Zero means "not
// set". Shadows show whole seconds, as AWS does; events keep the milliseconds.
type Time int64

// TimeOf converts from the standard library, cutting below the millisecond.
func TimeOf(t time.Time) Time { return Time(t.UnixMilli()) }

// Std converts to the standard library, in UTC.
func (t Time) Std() time.Time { return time.UnixMilli(int64(t)).UTC() }

// Seconds returns whole seconds since the epoch, the unit of shadow timestamps.
func (t Time) Seconds() int64 { return int64(t) / 1000 }

// Day returns the number of the UTC day since the epoch. History is kept, and
// expires, by whole days.
func (t Time) Day() uint32 { return uint32(int64(t) / (24 * 60 * 60 * 1000)) }
