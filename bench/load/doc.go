// Package load generates MQTT 3.1.1 load: many connections that publish with
// QoS 1 and keep a fixed number of packets in flight.
//
// A [Generator] owns the connections and knows of each thing how many updates
// were sent and acknowledged, so that a benchmark can look afterwards whether
// what was acknowledged is there. It is lean on purpose: one goroutine for each
// connection, packets encoded once and patched, no allocation for each update,
// because it shares the machine with the server that is measured. It talks to
// loopback addresses only and always ends by itself.
package load
