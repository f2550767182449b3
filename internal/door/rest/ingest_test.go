package rest_test

import "fmt"

// documentOf is an update/documents message, of a thing if that is not empty.
func documentOf(thing string, version int) string {
	const at = 1795348700 // a little before the clock of the tests
	stamp := at + version
	s := fmt.Sprintf(`{"previous":null,"current":{"state":{"reported":{"n":%d}},"metadata":{"reported":{"n":{"timestamp":%d}}},"version":%d},"timestamp":%d`,
		version, stamp, version, stamp)
	if thing != "" {
		s += fmt.Sprintf(`,"thing":%q`, thing)
	}
	return s + "}"
}
