// Package group keeps live groups: saved conditions over all twins, of which each twin's log
// says when it came to meet one and when it did no more. A membership is a record that is
// written in one commit with its event, so that a consumer of the feed who has seen all events
// has the members, also over a crash.
//
// A twin is looked at again when something of it has changed, gathered for a tenth of a second
// or so; who comes and goes within that time is not told of. Conditions that read now are
// asked of all twins every few seconds beside. At the start all are, so that what has changed
// while the server was down is told then.
package group
