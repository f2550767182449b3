// Package trend extrapolates a degradation to a limit: when does it get there, and how sure is
// that.
//
// The curve is a level until an onset, and from there on a line, an exponential or a power of
// time. All combinations of onset and shape are fitted so that outliers count little, and each
// has a weight by how well it fits for how much it can bend. Paths into the future are then
// drawn: a curve by its weight, its level and slope as sure as the points make them, and a
// slope that may change on the way. The dates are quantiles of when the paths reach the limit.
//
// Sources: Meeker and Escobar, "Statistical Methods for Reliability Data", 1998, chapter 13,
// for degradation paths and the distribution of times to failure they imply; Huber, "Robust
// Estimation of a Location Parameter", 1964; Schwarz, "Estimating the Dimension of a Model",
// 1978, for the weights.
package trend
