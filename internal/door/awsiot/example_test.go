package awsiot_test

import (
	"fmt"

	"github.com/twofold-iot/twofold/internal/door/awsiot"
)

func ExampleParseTopic() {
	t, ok := awsiot.ParseTopic("$aws/things/lamp-1/shadow/name/config/update")
	fmt.Println(ok, t.Key.Thing, t.Key.Shadow)
	fmt.Println(t.With(awsiot.Rejected))
	_, ok = awsiot.ParseTopic("$aws/things/lamp-1/shadow/config/update")
	fmt.Println(ok)
	// Output:
	// true lamp-1 config
	// $aws/things/lamp-1/shadow/name/config/update/rejected
	// false
}
