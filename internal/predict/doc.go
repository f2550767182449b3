// Package predict watches the measurements of twins: how unusual they are, and when a thing is
// expected to fail. It reads what is stored, the telemetry and the events of the shadow, and
// never what is on its way, so what it says of a twin follows from the past of the twin alone.
//
// Of each thing there is one state, of bounded size: how far its past has been read, what is
// usual for each metric (see [anomaly.Several]), and the episodes. It is a record that is
// written now and then, and in one commit with each event that comes of it. After a crash the
// past is read again from where the record stands, and comes to the same.
package predict
