package models

import "math"

// ewma is a mean weighted by age.
type ewma struct{ sum, weight float64 }

// add counts a number that is so many windows old.
func (e *ewma) add(v, age float64) {
	w := math.Exp(-age)
	e.sum += w * v
	e.weight += w
}
