// Package wot describes twins as Things of the Web of Things: what can be read of a twin,
// what can be asked of it, and what it tells, with the addresses where.
//
// Source: W3C, "Web of Things (WoT) Thing Description 1.1", sections 5 and 6.
package wot
