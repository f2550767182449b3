package twin_test

import (
	"fmt"

	"github.com/twofold-iot/twofold/twin"
)

// A device reports, an application asks for something else, and the device is told.
func ExampleNewChange() {
	key := twin.ShadowKey{Thing: "lamp-1"}
	var shadow *twin.Shadow // there is none yet
	for i, body := range []string{
		`{"state":{"reported":{"on":true,"level":40}}}`,
		`{"state":{"desired":{"level":80}},"clientToken":"app-1"}`,
		`{"state":{"reported":{"level":80}},"version":2}`,
	} {
		req, err := twin.ParseRequest([]byte(body), twin.Limits{})
		if err != nil {
			fmt.Println(err)
			return
		}
		change, err := twin.NewChange(key, shadow, req, twin.Time(1_700_000_000_000+1000*i), twin.Limits{})
		if err != nil {
			fmt.Println(err)
			return
		}
		shadow = change.Current
		fmt.Printf("version %d\n", change.Version)
		if change.HasDelta() {
			fmt.Printf("%s\n", change.AppendDelta(nil))
		}
	}
	// Output:
	// version 1
	// version 2
	// {"version":2,"timestamp":1700000001,"state":{"level":80},"metadata":{"level":{"timestamp":1700000001}},"clientToken":"app-1"}
	// version 3
}

// An error says what a client is told, and its token goes with it.
func ExampleParseRequest() {
	req, err := twin.ParseRequest([]byte(`{"state":{"wanted":{"on":true}},"clientToken":"app-2"}`), twin.Limits{})
	fmt.Println(twin.ErrorMessage(err), "/", twin.Kind(err) == twin.KindInvalid, "/", req.ClientToken)
	// Output:
	// State contains an invalid node: 'wanted' / true / app-2
}

func ExampleAppendGet() {
	req, err := twin.ParseRequest([]byte(`{"state":{"desired":{"level":80},"reported":{"level":40}}}`), twin.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	change, err := twin.NewChange(twin.ShadowKey{Thing: "lamp-1"}, nil, req, 1_700_000_000_000, twin.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%s\n", twin.AppendGet(nil, change.Current, 1_700_000_060_000, nil))
	// Output:
	// {"state":{"desired":{"level":80},"reported":{"level":40},"delta":{"level":80}},"metadata":{"desired":{"level":{"timestamp":1700000000}},"reported":{"level":{"timestamp":1700000000}}},"version":1,"timestamp":1700000060}
}

func ExampleNode_Leaves() {
	req, err := twin.ParseRequest([]byte(`{"state":{"reported":{"fan":{"speed":1200},"tags":["a","b"]}}}`), twin.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	change, err := twin.NewChange(twin.ShadowKey{Thing: "lamp-1"}, nil, req, 1_700_000_000_000, twin.Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	change.Current.Reported.Leaves(func(path string, value []byte, stamp int64) {
		fmt.Printf("%-10s %-10s %d\n", path, value, stamp)
	})
	// Output:
	// fan.speed  1200       1700000000
	// tags       ["a","b"]  1700000000
}
