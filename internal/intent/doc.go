// Package intent follows what is asked of things: the life of each accepted update of desired
// that a device still has to do something for.
//
//	pending ─▶ delivered ─▶ applied
//	   └───────────┴──────▶ rejected | superseded | expired
//
// An intent is named by the version of the update that asked, v12. It is open as long as one of
// its paths is: a leaf of desired that reported does not say, and that nobody has asked to be
// otherwise since. The package is pure: the engine makes each step in the commit of the update
// that causes it.
package intent
