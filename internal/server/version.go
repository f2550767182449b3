package server

import (
	"runtime"
	"runtime/debug"
)

// version is the release this source tree becomes.
const version = "0.1.0-dev"

// BuildInfo says what is running.
type BuildInfo struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"` // empty: not built from a checkout
	Modified bool   `json:"modified,omitempty"`
	Time     string `json:"time,omitempty"` // of the commit, RFC 3339
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Build reads what the Go tool has put into the binary.
func Build() BuildInfo {
	b := BuildInfo{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Commit = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "vcs.time":
			b.Time = s.Value
		}
	}
	return b
}

// Version returns the version for banners and user agents.
func Version() string { return version }
