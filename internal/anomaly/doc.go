// Package anomaly tells how unusual each number of a series is, by what came before it alone.
//
// A detector reads points one by one and keeps a state of fixed size. Several weak signals look
// at each point in different ways: its level, its distance from what came just before, the
// mean and the spread of the recent past, the time of day, the context of values, how far it is
// outside of everything seen. Each signal is turned into a tail probability against its own
// decaying history, so no signal has to be scaled: what is usual for it has a large probability,
// whatever its unit. The probabilities are combined with equal weights, and the combination is
// judged against its own history again.
//
// Sources: Laxhammar and Falkman, "Conformal prediction for distribution-independent anomaly
// detection in streaming vessel data", 2010, for tail probabilities against a history; Fisher,
// "Statistical Methods for Research Workers", 1925, for the combination; Ishimtsev et al.,
// "Conformal k-NN Anomaly Detector for Univariate Data Streams", 2017, for both in streams.
package anomaly
