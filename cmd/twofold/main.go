// Command twofold is the digital-twin server and its command line.
package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	_ "time/tzdata" // names of time zones, also where the system has none
)

func main() { os.Exit(run()) }

// run executes the command line and returns the exit code.
func run() int {
	err := newRoot().ExecuteContext(context.Background())
	if err == nil {
		return exitOK
	}
	for line := range strings.SplitSeq(err.Error(), "\n") {
		fmt.Fprintln(os.Stderr, "twofold: "+line)
	}
	return exitCode(err)
}
