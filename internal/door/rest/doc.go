// Package rest is the REST door: JSON over HTTP for backends and the command line.
//
// [New] makes the handler of everything under /api/v1, of GET /twins/{id} and of
// the pages under /problems/ that the errors point to. Errors are RFC 9457
// problem documents, conditional requests follow RFC 9110 section 13 with the
// version of the shadow as entity tag ("v3"), a PATCH is a JSON merge patch
// (RFC 7396), which is what an update of a shadow is anyway.
//
// What was is read from [history.Reader] and shown as it is: GET /twins/{id} has the
// history of the last day and what follows from it, ?at and ?version show the twin as
// it was, and under it are history, events, diff and series. The stream sends what
// happens as server-sent events.
//
// One table, in routes.go, has all operations: it serves them, refuses parameters that
// they do not have, and is described at /openapi.json and /docs. A new operation is a
// new line there; every test of this package holds answers against the description.
//
// It is plain net/http rather than a framework: no number may pass through a
// float64, so every body here is raw JSON that a framework would only get in the
// way of.
package rest
