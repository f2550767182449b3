// Package series is the encoding of telemetry in columns, what numbers come to over a
// stretch of time, and how many of them are drawn in few.
//
//   - [AppendNumbers] and [AppendStates] write a chunk: samples of one metric of a day,
//     in order of time. Numbers that are decimals in truth, as most sensors send them,
//     are kept as whole numbers of the last digit; both times and values are packed in
//     blocks of 128 with as many bits as they need ([appendInts]).
//   - [Rollup] is what samples come to: count, sum, first, last, min and max with their
//     times, the area below their steps and a [Sketch] of their distribution. Rollups of
//     neighbours merge into that of both without loss but for the sketch's bound.
//   - [M4] draws a window: its first, last, lowest and highest sample.
//
// Nothing here reads a clock or a disk.
package series
