// Package sim has virtual devices. A [Kind] says what devices of a kind do; it is made of a
// model. A [Plant] is the physics of one: signals and states, moved by a clock and a seed
// alone. A [Device] is the firmware over it: it reports, sends telemetry, applies what is
// desired, answers commands and updates itself, and knows no network. A [Fleet] lets devices
// speak MQTT with a server, as many as there are.
package sim
