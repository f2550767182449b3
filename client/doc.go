// Package client is a Go client of Twofold's REST API.
//
// [New] makes a [Client]; its methods are the operations. States are raw JSON, so
// that no number is rounded on the way. What the server refuses is an [Error],
// made from its problem document; ask for a kind of refusal with [errors.As] and
// [Error.Status], or with [IsNotFound] and [IsConflict].
//
// Lists and searches ([Client.Twins], [Client.History], [Client.Events]) are loops that
// read page by page; [Client.Watch] follows what happens and goes on where it was when
// the connection is lost.
package client
