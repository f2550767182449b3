// Package model says what a kind of thing is: [Parse] reads and checks the definition,
// [Model.Evaluate] gives the computed attributes of a twin from its state alone, and
// [Model.Step] alarms too, for which a [Memory] is kept from step to step.
// Everything here is pure: no clock, no disk.
package model
