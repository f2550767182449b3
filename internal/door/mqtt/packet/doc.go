// Package packet reads and writes MQTT control packets, versions 3.1.1 and 5.
//
// It works on the bytes of one packet: [ParseHeader] tells how long a packet is
// before anything is allocated for it, the Decode functions read its body, the
// Append functions write a packet. Decoded fields share the memory of the body;
// a [Publish] can be decoded again and again without allocating.
//
// A malformed packet is an [*Error] with the MQTT 5 reason code and the number of
// the rule that it breaks. Rules are cited by the identifiers of the OASIS
// standards "MQTT Version 5.0" and, where it differs, "MQTT Version 3.1.1".
package packet
