// Package fleet keeps all twins in columns in memory, and answers queries over them.
//
// A row is a twin, a column what twins have under one path: reported.motor.speed, tags.site.
// Twins of one model are kept together, as they have the same paths. An expression is
// translated into operators over columns (scan.go), 1,024 rows at a time; rows of which the
// columns cannot tell are given to the interpreter of expressions, so that a query finds
// what the expression says, whatever is in it.
//
// What becomes durable is noted ([Index.Settle]) before the update is acknowledged, and every
// query begins with bringing in what is noted: it sees each acknowledged update.
package fleet
