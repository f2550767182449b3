package twin

import (
	"encoding/binary"
	"errors"
)

// ArtifactName names an artifact: 1 to 128 characters of [a-zA-Z0-9._-], the first of them
// a letter or a digit.
type ArtifactName string

// Limits of artifacts.
const (
	ArtifactNameBytesMax = 128
	ArtifactBytesMax     = 128 << 20 // content of one
	ArtifactsMax         = 1000
	ArtifactsBytesMax    = 4 << 30 // content of all
	ArtifactPartBytes    = 256 << 10
)

// Valid reports whether the name is legal.
func (n ArtifactName) Valid() bool {
	if len(n) == 0 || len(n) > ArtifactNameBytesMax || n[0] == '.' || n[0] == '_' || n[0] == '-' {
		return false
	}
	for i := range len(n) {
		if c := n[i]; c != '.' && (c == ':' || !validName(string(n[i:i+1]), 1, false)) {
			return false
		}
	}
	return true
}

// Artifact is a file that devices get by URL, firmware as a rule. Its content never
// changes.
type Artifact struct {
	Name    ArtifactName `json:"name"`
	Upload  string       `json:"upload"` // begins the keys of its parts
	Size    int64        `json:"size"`
	SHA256  string       `json:"sha256"` // hex
	By      string       `json:"by,omitempty"`
	Created Time         `json:"created"`
	// Ready: all parts are there. Without it they are on their way in, or out.
	Ready bool `json:"ready"`
}

// AppendBinary appends the form in which what is known of an artifact is kept.
func (a *Artifact) AppendBinary(dst []byte) ([]byte, error) { return appendJobJSON(dst, a) }

// DecodeArtifact reads what [Artifact.AppendBinary] wrote.
func DecodeArtifact(b []byte) (Artifact, error) {
	var a Artifact
	if err := decodeJobJSON(b, &a); err != nil {
		return a, err
	}
	if !a.Name.Valid() || a.Upload == "" {
		return a, errors.New("decode an artifact: its name or its upload is none")
	}
	return a, nil
}

// ArtifactPartKey is the key of the n-th part of an upload.
func ArtifactPartKey(upload string, n int) string {
	return string(binary.BigEndian.AppendUint32([]byte(ArtifactPartKeys(upload)), uint32(n)))
}

// ArtifactPartKeys begins the keys of all parts of an upload.
func ArtifactPartKeys(upload string) string { return upload + "\x00" }
