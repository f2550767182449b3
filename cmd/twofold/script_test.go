package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"twofold": main})
}

// TestScript runs the command line as its users do; testdata/*.txt reads like a
// terminal. Beside testscript's own commands there are:
//
//	ready FILE           waits for the file of serve --ready-file and sets
//	                     TWOFOLD_SERVER, MQTT and PID to what it says
//	exits CODE COMMAND…  runs a command that must end with an exit code
//	edit FILE OLD NEW    replaces text that must be in a file, once
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata",
		RequireExplicitExec: true,
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"ready": scriptReady,
			"exits": scriptExits,
			"edit":  scriptEdit,
		},
	})
}

const readyMax = 10 * time.Second

func scriptReady(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: ready FILE")
	}
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(readyMax)
	for {
		b, err := os.ReadFile(ts.MkAbs(args[0]))
		if err == nil {
			var ready struct {
				HTTP, MQTT string
				PID        int
			}
			ts.Check(json.Unmarshal(b, &ready))
			ts.Setenv("TWOFOLD_SERVER", "http://"+ready.HTTP)
			ts.Setenv("MQTT", ready.MQTT)
			ts.Setenv("PID", strconv.Itoa(ready.PID))
			ts.Check(os.Remove(ts.MkAbs(args[0]))) // so that the next one is waited for
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			ts.Fatalf("no server is ready after %s", readyMax)
		}
	}
}

func scriptExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	err = ts.Exec(args[1], args[2:]...)
	var exit *exec.ExitError
	got := 0
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != want {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

func scriptEdit(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: edit FILE OLD NEW")
	}
	b, err := os.ReadFile(ts.MkAbs(args[0]))
	ts.Check(err)
	if !bytes.Contains(b, []byte(args[1])) {
		ts.Fatalf("%s is not in %s:\n%s", args[1], args[0], b)
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), bytes.Replace(b, []byte(args[1]), []byte(args[2]), 1), 0o600))
}
