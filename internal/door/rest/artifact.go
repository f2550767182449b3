package rest

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Artifacts keeps files that devices get by URL.
type Artifacts interface {
	// PutArtifact keeps a file; the same content again existed, other content under the
	// same name is an error of kind KindConflict. sum is the SHA-256 it must have, in hex.
	PutArtifact(ctx context.Context, name twin.ArtifactName, content io.Reader, sum string, origin twin.Origin) (a twin.Artifact, existed bool, err error)
	Artifact(name twin.ArtifactName) (twin.Artifact, bool)
	Artifacts() []twin.Artifact // by name
	OpenArtifact(ctx context.Context, name twin.ArtifactName) (twin.Artifact, io.ReadSeeker, error)
	DeleteArtifact(ctx context.Context, name twin.ArtifactName) error
}

// How long an upload and a download may take; those of other requests are shorter.
const (
	artifactUploadTime   = 30 * time.Minute
	artifactDownloadTime = 4 * time.Hour
)

// artifactDocument is an artifact as this door shows it.
type artifactDocument struct {
	Name    twin.ArtifactName `json:"name"`
	URL     string            `json:"url"` // a path
	Size    uint64            `json:"size"`
	SHA256  string            `json:"sha256"`
	By      string            `json:"by,omitempty"`
	Created string            `json:"createdAt"`
}

func newArtifactDocument(a *twin.Artifact) artifactDocument {
	return artifactDocument{a.Name, "/api/v1/artifacts/" + string(a.Name), uint64(a.Size), a.SHA256, a.By, timeText(a.Created)}
}

type artifactPage struct {
	Artifacts []artifactDocument `json:"artifacts"`
}

type artifactDeleted struct {
	Name    twin.ArtifactName `json:"name"`
	Deleted bool              `json:"deleted"`
}

const typeOctets = "application/octet-stream"

func (d *door) artifactRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/artifacts", name: "listArtifacts", summary: "List artifacts, such as firmware, by name",
			answer: artifactPage{}, handler: d.listArtifacts,
		}, {
			method: "PUT", path: "/api/v1/artifacts/{artifact}", name: "putArtifact", summary: "Keep a file that devices get by URL; its content never changes",
			query: []string{"sha256"}, body: "", bodyTypes: []string{typeOctets}, answer: artifactDocument{}, status: http.StatusCreated, handler: d.putArtifact,
		}, {
			method: "GET", path: "/api/v1/artifacts/{artifact}", name: "getArtifact", summary: "Get the content of an artifact, or a range of it",
			headers: []string{"If-None-Match", "Range"}, types: []string{typeOctets}, handler: d.getArtifact,
		}, {
			method: "DELETE", path: "/api/v1/artifacts/{artifact}", name: "deleteArtifact", summary: "Delete an artifact that no job brings which has not ended",
			answer: artifactDeleted{}, handler: d.deleteArtifact,
		},
	}
}

func (d *door) listArtifacts(w http.ResponseWriter, _ *http.Request) error {
	page := artifactPage{Artifacts: []artifactDocument{}}
	for _, a := range d.opts.Artifacts.Artifacts() {
		page.Artifacts = append(page.Artifacts, newArtifactDocument(&a))
	}
	return writeJSON(w, page)
}

func (d *door) putArtifact(w http.ResponseWriter, r *http.Request) error {
	name := twin.ArtifactName(r.PathValue("artifact"))
	sum := r.URL.Query().Get("sha256")
	if b, err := hex.DecodeString(sum); err != nil || sum != "" && len(b) != 32 {
		return badParam("sha256", "sha256: %.80q is not 64 hexadecimal digits", sum)
	}
	if r.ContentLength > twin.ArtifactBytesMax {
		return &problem{slug: slugTooLarge, Detail: "an artifact has at most " + strconv.Itoa(twin.ArtifactBytesMax) + " bytes"}
	}
	if err := http.NewResponseController(w).SetReadDeadline(d.opts.Now().Add(artifactUploadTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	a, existed, err := d.opts.Artifacts.PutArtifact(r.Context(), name, http.MaxBytesReader(w, r.Body, twin.ArtifactBytesMax+1), sum, origin(r))
	if err != nil {
		return err
	}
	w.Header().Set("Location", newArtifactDocument(&a).URL)
	if existed {
		w.Header().Set("Idempotency-Replayed", "true")
	}
	return writeStatus(w, http.StatusCreated, newArtifactDocument(&a))
}

func (d *door) getArtifact(w http.ResponseWriter, r *http.Request) error {
	a, content, err := d.opts.Artifacts.OpenArtifact(r.Context(), twin.ArtifactName(r.PathValue("artifact")))
	if err != nil {
		return err
	}
	sum, err := hex.DecodeString(a.SHA256)
	if err != nil {
		return err
	}
	if err := http.NewResponseController(w).SetWriteDeadline(d.opts.Now().Add(artifactDownloadTime)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return err
	}
	h := w.Header()
	digest := base64.StdEncoding.EncodeToString(sum)
	h.Set("Content-Type", typeOctets)
	h.Set("Content-Disposition", `attachment; filename="`+string(a.Name)+`"`)
	h.Set("ETag", `"`+a.SHA256+`"`)
	h.Set("Digest", "sha-256="+digest)           // RFC 3230, which older clients know
	h.Set("Repr-Digest", "sha-256=:"+digest+":") // RFC 9530; of the whole, also with a part of it
	http.ServeContent(w, r, "", a.Created.Std(), content)
	return nil
}

func (d *door) deleteArtifact(w http.ResponseWriter, r *http.Request) error {
	name := twin.ArtifactName(r.PathValue("artifact"))
	if err := d.opts.Artifacts.DeleteArtifact(r.Context(), name); err != nil {
		return err
	}
	return writeJSON(w, artifactDeleted{name, true})
}
