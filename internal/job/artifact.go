package job

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// loadArtifacts reads what is known of artifacts, and removes what is left of uploads and
// removals that were cut short.
func (s *Service) loadArtifacts(ctx context.Context) error {
	return s.scan(ctx, twin.RecordArtifact, "", func(r *twin.Record) error {
		a, err := twin.DecodeArtifact(r.Value)
		if err != nil {
			return err
		}
		if !a.Ready {
			return s.removeParts(ctx, &a)
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		s.artifacts[a.Name] = a
		return nil
	})
}

// Artifact returns an artifact that is there.
func (s *Service) Artifact(name twin.ArtifactName) (twin.Artifact, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	a, ok := s.artifacts[name]
	return a, ok && a.Ready
}

// Artifacts lists all artifacts by name.
func (s *Service) Artifacts() []twin.Artifact {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := make([]twin.Artifact, 0, len(s.artifacts))
	for _, a := range s.artifacts {
		if a.Ready {
			list = append(list, a)
		}
	}
	slices.SortFunc(list, func(a, b twin.Artifact) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// PutArtifact keeps a file and returns what is known of it when it is durable. sum, if not
// empty, is the SHA-256 in hex that the content must have. The same content again under
// the same name is no error; existed says so. Other content is one of kind KindConflict.
func (s *Service) PutArtifact(ctx context.Context, name twin.ArtifactName, content io.Reader, sum string, origin twin.Origin) (a twin.Artifact, existed bool, err error) {
	if !name.Valid() {
		return a, false, twin.NewError(twin.KindInvalid, fmt.Sprintf("name: %.140q is not 1 to %d characters of a-z A-Z 0-9 . _ -, beginning with a letter or a digit", name, twin.ArtifactNameBytesMax))
	}
	a = twin.Artifact{Name: name, Upload: rand.Text(), By: origin.Session, Created: s.now()}
	have, err := s.reserve(&a)
	if err != nil {
		return a, false, err
	}
	if have != nil {
		return compare(have, content, sum)
	}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, s.drop(&a))
		}
	}()
	if err := s.writeArtifact(ctx, &a); err != nil {
		return a, false, err
	}
	if err := s.readParts(ctx, &a, content); err != nil {
		return a, false, err
	}
	if err := checkSum(&a, sum); err != nil {
		return a, false, err
	}
	a.Ready = true
	if err := s.writeArtifact(ctx, &a); err != nil {
		return a, false, err
	}
	kept = true
	s.mu.Lock()
	defer s.mu.Unlock()
	s.artifacts[name] = a
	return a, false, nil
}

// reserve takes the name of an artifact that is to be made. It returns the one that has it.
func (s *Service) reserve(a *twin.Artifact) (have *twin.Artifact, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var total int64
	for _, other := range s.artifacts {
		total += other.Size
	}
	there, ok := s.artifacts[a.Name]
	switch {
	case ok && there.Ready:
		return &there, nil
	case ok:
		return nil, twin.NewError(twin.KindConflict, fmt.Sprintf("The artifact %s is on its way in or out; try again", a.Name))
	case len(s.artifacts) >= twin.ArtifactsMax:
		return nil, twin.NewError(twin.KindFull, fmt.Sprintf("There are %d artifacts, that is the limit; delete some", twin.ArtifactsMax))
	case total >= twin.ArtifactsBytesMax:
		return nil, twin.NewError(twin.KindFull, fmt.Sprintf("All artifacts have %d bytes, over the limit of %d; delete some", total, int64(twin.ArtifactsBytesMax)))
	}
	s.artifacts[a.Name] = *a
	return nil, nil
}

// compare reads content that must be that of an artifact which is there.
func compare(have *twin.Artifact, content io.Reader, sum string) (twin.Artifact, bool, error) {
	h := sha256.New()
	n, err := io.Copy(h, io.LimitReader(content, twin.ArtifactBytesMax+1))
	if err != nil {
		return *have, false, errContent(err)
	}
	got := twin.Artifact{Name: have.Name, Size: n, SHA256: hex.EncodeToString(h.Sum(nil))}
	if err := checkSum(&got, sum); err != nil {
		return *have, false, err
	}
	if got.SHA256 != have.SHA256 {
		return *have, false, twin.NewError(twin.KindConflict, fmt.Sprintf(
			"There is an artifact %s with other content (SHA-256 %s); take another name, or delete it", have.Name, have.SHA256))
	}
	return *have, true, nil
}

func errContent(err error) error {
	var known *twin.Error
	if errors.As(err, &known) {
		return err
	}
	return &twin.Error{Kind: twin.KindInvalid, Message: "The content could not be read to its end; nothing was kept", Err: err}
}

func checkSum(a *twin.Artifact, want string) error {
	if want != "" && !strings.EqualFold(want, a.SHA256) {
		return twin.NewError(twin.KindInvalid, fmt.Sprintf("sha256: the content has %s, not %.80q; nothing was kept", a.SHA256, want))
	}
	return nil
}

// readParts keeps the content of an artifact, part by part.
func (s *Service) readParts(ctx context.Context, a *twin.Artifact, content io.Reader) error {
	h := sha256.New()
	for n := 0; ; n++ {
		part := make([]byte, twin.ArtifactPartBytes)
		read, err := io.ReadFull(content, part)
		if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
			return errContent(err)
		}
		part = part[:read]
		if a.Size += int64(read); a.Size > twin.ArtifactBytesMax {
			return twin.NewError(twin.KindTooLarge, fmt.Sprintf("An artifact has at most %d bytes; nothing was kept", twin.ArtifactBytesMax))
		}
		if read > 0 {
			_, _ = h.Write(part) // a hash never fails
			ws := []twin.RecordWrite{{Kind: twin.RecordPart, Key: twin.ArtifactPartKey(a.Upload, n), Value: part}}
			if err := s.writeAs(ctx, a.Upload, ws); err != nil {
				return err
			}
		}
		if err != nil { // its end
			break
		}
	}
	if a.Size == 0 {
		return twin.NewError(twin.KindInvalid, "The content is empty")
	}
	a.SHA256 = hex.EncodeToString(h.Sum(nil))
	return nil
}

func (s *Service) writeArtifact(ctx context.Context, a *twin.Artifact) error {
	v, err := a.AppendBinary(nil)
	if err != nil {
		return err
	}
	return s.writeAs(ctx, a.Upload, []twin.RecordWrite{{Kind: twin.RecordArtifact, Key: string(a.Name), Value: v}})
}

// DeleteArtifact removes an artifact. One that a job brings which has not ended is an error
// of kind KindConflict.
func (s *Service) DeleteArtifact(ctx context.Context, name twin.ArtifactName) error {
	if err := s.beginOp(ctx); err != nil {
		return err
	}
	defer s.endOp()
	s.mu.Lock()
	a, ok := s.artifacts[name]
	user := s.userLocked(name)
	if ok && a.Ready && user == "" {
		a.Ready = false
		s.artifacts[name] = a
	}
	s.mu.Unlock()
	switch {
	case !ok:
		return errNoArtifact(name)
	case user != "":
		return twin.NewError(twin.KindConflict, fmt.Sprintf("The job %s brings the artifact %s and has not ended", user, name))
	}
	if err := s.writeArtifact(ctx, &a); err != nil { // from here on it goes, whatever happens
		s.mu.Lock()
		a.Ready = true
		s.artifacts[name] = a
		s.mu.Unlock()
		return err
	}
	return s.drop(&a)
}

func errNoArtifact(name twin.ArtifactName) error {
	return twin.NewError(twin.KindNotFound, fmt.Sprintf("There is no artifact %.140q", name))
}

func (s *Service) userLocked(name twin.ArtifactName) twin.JobID {
	for id, j := range s.jobs {
		if j.Counts != nil {
			continue
		}
		for _, a := range j.Artifacts {
			if a.Name == string(name) {
				return id
			}
		}
	}
	return ""
}

// drop removes what there is of an artifact. What it cannot, the next start does.
func (s *Service) drop(a *twin.Artifact) error {
	err := s.removeParts(context.Background(), a)
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.artifacts, a.Name)
	return err
}

// partsPage is how many parts are read at once; their content comes along.
const partsPage = 16

func (s *Service) removeParts(ctx context.Context, a *twin.Artifact) error {
	for {
		page, err := s.engine.Records(ctx, twin.RecordPart, twin.ArtifactPartKeys(a.Upload), "", partsPage)
		if err != nil {
			return fmt.Errorf("read the parts of %s: %w", a.Name, err)
		}
		if len(page) == 0 {
			break
		}
		ws := make([]twin.RecordWrite, len(page))
		for i, r := range page {
			ws[i] = twin.RecordWrite{Kind: r.Kind, Key: r.Key}
		}
		if err := s.writeAs(ctx, a.Upload, ws); err != nil {
			return fmt.Errorf("remove the parts of %s: %w", a.Name, err)
		}
	}
	return s.writeAs(ctx, a.Upload, []twin.RecordWrite{{Kind: twin.RecordArtifact, Key: string(a.Name)}})
}

// OpenArtifact returns the content of an artifact for one reader.
func (s *Service) OpenArtifact(ctx context.Context, name twin.ArtifactName) (twin.Artifact, io.ReadSeeker, error) {
	a, ok := s.Artifact(name)
	if !ok {
		return a, nil, errNoArtifact(name)
	}
	return a, &content{s: s, a: a, part: -1, read: func(key string) ([]byte, error) {
		rs, err := s.engine.Records(ctx, twin.RecordPart, key, "", 1)
		if err == nil && (len(rs) == 0 || rs[0].Key != key) {
			err = errors.New("it is gone")
		}
		if err != nil {
			return nil, fmt.Errorf("read artifact %s: %w", name, err)
		}
		return rs[0].Value, nil
	}}, nil
}

// content reads an artifact; it holds one part.
type content struct {
	s     *Service
	a     twin.Artifact
	at    int64
	part  int // that is held
	bytes []byte
	read  func(key string) ([]byte, error)
}

// Read implements [io.Reader].
func (c *content) Read(p []byte) (int, error) {
	if c.at >= c.a.Size {
		return 0, io.EOF
	}
	if n := int(c.at / twin.ArtifactPartBytes); n != c.part {
		b, err := c.read(twin.ArtifactPartKey(c.a.Upload, n))
		if err != nil {
			return 0, err
		}
		c.part, c.bytes = n, b
	}
	off := int(c.at % twin.ArtifactPartBytes)
	if off >= len(c.bytes) {
		return 0, io.ErrUnexpectedEOF
	}
	n := copy(p, c.bytes[off:])
	c.at += int64(n)
	return n, nil
}

// Seek implements [io.Seeker].
func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.at
	case io.SeekEnd:
		offset += c.a.Size
	}
	if offset < 0 {
		return 0, errors.New("seek before the begin of an artifact")
	}
	c.at = offset
	return offset, nil
}
