// Package rul learns from recorded lives how long things of a kind still live: the remaining
// useful life.
//
// Measurements of a thing are compared with what is usual in the operating regime of the
// moment, which are found in the data. What a life has been up to an instant is then figures
// over its last points, a longer stretch and all of it, and boosted trees learn from many
// instants of all lives what was left at each. Several models are fitted, each without some
// of the lives. Their mean is the prediction; how far they were off on the lives that they had
// not seen gives the intervals.
//
// Sources: Saxena and Goebel, "Turbofan Engine Degradation Simulation Data Set", 2008, and Heimes,
// "Recurrent Neural Networks for Remaining Useful Life Estimation", 2008, for a target that is
// capped; Vovk, "Cross-conformal predictors", 2015, for the intervals.
package rul
