// Package profile finds out what a twin does by itself, from its past alone: which states an
// attribute has, how they follow each other and how long they last, and what a number is like
// at each hour of the week.
//
// The package declares nothing and stores nothing: each answer is of a window of the past,
// so it is always that of now. Predictions and simulations build on it.
package profile
