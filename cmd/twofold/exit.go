package main

import (
	"errors"

	"github.com/twofold-iot/twofold/client"
	"github.com/twofold-iot/twofold/internal/server"
	"github.com/twofold-iot/twofold/twin"
)

// The exit codes. 74 and 78 are those of sysexits.h.
const (
	exitOK          = 0
	exitError       = 1
	exitUsage       = 2  // the command line is wrong
	exitNotFound    = 3  // no such shadow
	exitConflict    = 4  // the twin is not at the version asked for
	exitUnreachable = 5  // no answer from the server; the fate of a change is not known
	exitFaulty      = 6  // verify found faults
	exitFault       = 74 // the store failed while serving
	exitConfig      = 78 // the configuration cannot be used, or is refused
)

const exitHelp = `Exit codes:
  0   done
  1   any other error
  2   the command line is wrong
  3   no such shadow
  4   the twin is not at the version asked for
  5   no answer from the server; after a change its outcome is not known
  6   verify: faults were found
  74  serve: the store failed; what was acknowledged is there after a restart
  78  the configuration cannot be used, or is refused
`

// usageError is a wrong command line.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func exitCode(err error) int {
	var usage *usageError
	var config *server.ConfigError
	var fault *server.FaultError
	var unreachable *client.UnreachableError
	var faulty *faultyError
	switch {
	case errors.As(err, &faulty):
		return exitFaulty
	case twin.Kind(err) == twin.KindNotFound:
		return exitNotFound
	case errors.As(err, &usage):
		return exitUsage
	case errors.As(err, &config):
		return exitConfig
	case errors.As(err, &fault):
		return exitFault
	case errors.As(err, &unreachable):
		return exitUnreachable
	case client.IsNotFound(err):
		return exitNotFound
	case client.IsConflict(err):
		return exitConflict
	}
	return exitError
}
