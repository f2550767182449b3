package server

import (
	"log/slog"

	"github.com/twofold-iot/twofold/internal/clock"
	"github.com/twofold-iot/twofold/internal/store/pebblestore"
)

// World is what a server runs in; the zero value is this machine.
type World struct {
	// Clock is the time of all that it keeps. What goes by the network, such as
	// keep-alives and deadlines of requests, stays in the time of the machine.
	Clock *clock.Clock
	// Memory keeps the data in memory, under the path in the configuration, and nothing
	// after the end.
	Memory bool
}

// OpenIn is [Open] in a world.
func OpenIn(w World, c Config, log *slog.Logger) (*Server, error) {
	return open(w, c, log, pebblestore.Options{Log: log, Memory: w.Memory})
}
