// Package server is the configuration of a Twofold server and the only place
// where its parts are wired to each other.
//
// [Load] makes a [Config] from defaults, one file, the environment and flags, and
// keeps where each value came from. [Open] builds the parts in an explicit order
// (store, engine, MQTT door, AWS door, REST door, listeners), [Server.Run] serves
// until told to stop, [Server.Close] takes everything down in the reverse order.
//
// Until there is authentication only loopback addresses are accepted; everything
// else is a [ConfigError].
package server
