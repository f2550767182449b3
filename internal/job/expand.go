package job

import (
	"encoding/json"
	"fmt"
	"regexp"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// placeholder is a string of a job document that stands for an artifact: for all of it, or
// for its url, its sha256 or its size. A string of JSON cannot have a bare quote in it, so
// a match is always a whole string.
var placeholder = regexp.MustCompile(`"\$\{artifact:([A-Za-z0-9._-]{1,128})(?::(url|sha256|size))?\}"`) //nolint:gochecknoglobals // compiled once, read only

const placeholderMark = "${artifact:"

// Expand fills in the placeholders of the document of a job:
//
//	"${artifact:pump-2.1.0.bin}"         {"name":…,"url":…,"sha256":…,"size":…}
//	"${artifact:pump-2.1.0.bin:url}"     "http://…/api/v1/artifacts/pump-2.1.0.bin"
//	"${artifact:pump-2.1.0.bin:sha256}"  the SHA-256 in hex
//	"${artifact:pump-2.1.0.bin:size}"    the number of bytes
//
// base is the address of the server as devices reach it, without a slash at its end.
func (s *Service) Expand(r *twin.JobRequest, base string) error {
	var fault error
	seen := map[string]bool{}
	r.Document = placeholder.ReplaceAllFunc(r.Document, func(match []byte) []byte {
		parts := placeholder.FindSubmatch(match)
		name := string(parts[1])
		a, ok := s.Artifact(twin.ArtifactName(name))
		if !ok {
			if fault == nil {
				fault = twin.NewError(twin.KindInvalid, fmt.Sprintf("document: there is no artifact %s; PUT /api/v1/artifacts/%s first", name, name))
			}
			return match
		}
		if !seen[name] {
			seen[name] = true
			r.Artifacts = append(r.Artifacts, twin.JobArtifact{Name: name, SHA256: a.SHA256})
		}
		return filled(&a, base+"/api/v1/artifacts/"+name, string(parts[2]))
	})
	if fault == nil && strings.Contains(string(r.Document), placeholderMark) {
		fault = twin.NewError(twin.KindInvalid, `document: a placeholder is a whole string, such as "${artifact:pump-2.1.0.bin}", or with :url, :sha256 or :size before the brace`)
	}
	return fault
}

func filled(a *twin.Artifact, url, what string) []byte {
	var v any = struct {
		Name   twin.ArtifactName `json:"name"`
		URL    string            `json:"url"`
		SHA256 string            `json:"sha256"`
		Size   int64             `json:"size"`
	}{a.Name, url, a.SHA256, a.Size}
	switch what {
	case "url":
		v = url
	case "sha256":
		v = a.SHA256
	case "size":
		v = a.Size
	}
	b, err := json.Marshal(v)
	if err != nil {
		panic("job: strings and numbers have a JSON form: " + err.Error())
	}
	return b
}

// checkArtifacts reports an artifact of a new job that went away meanwhile.
func (s *Service) checkArtifacts(r *twin.JobRequest) error {
	for _, a := range r.Artifacts {
		if have, ok := s.artifacts[twin.ArtifactName(a.Name)]; !ok || !have.Ready || have.SHA256 != a.SHA256 {
			return twin.NewError(twin.KindConflict, fmt.Sprintf("document: the artifact %s has just been deleted", a.Name))
		}
	}
	return nil
}
