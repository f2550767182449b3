package predict

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"log/slog"

	"github.com/twofold-iot/twofold/twin"
)

// recordsPage is how many records are read at a time.
const recordsPage = 500

// Open reads which things are expected to fail. What came while nobody watched is found
// when [Service.ChangedAll] is called for all things.
func (s *Service) Open(ctx context.Context) error {
	for after := ""; ; {
		page, err := s.engine.Records(ctx, twin.RecordPredictor, "", after, recordsPage)
		if err != nil {
			return fmt.Errorf("read what is predicted: %w", err)
		}
		for _, r := range page {
			after = r.Key
			k, _, err := readKept(r.Value)
			if err != nil { // it is learned again when it is looked at
				s.log.Error("what is learned of a thing cannot be read", slog.String("thing", r.Key), slog.String("error", err.Error()))
				continue
			}
			if k.Predicted != nil {
				s.due[twin.ThingName(r.Key)] = *k.Predicted
			}
		}
		if len(page) < recordsPage {
			return nil
		}
	}
}

// readKept reads the first part of a record, and returns the rest.
func readKept(b []byte) (k kept, rest []byte, err error) {
	if len(b) == 0 || b[0] != recordFormat {
		return k, nil, errRecord
	}
	n, size := binary.Uvarint(b[1:])
	if size <= 0 || n > uint64(len(b)-1-size) {
		return k, nil, errRecord
	}
	b = b[1+size:]
	if err := json.Unmarshal(b[:n], &k); err != nil {
		return k, nil, fmt.Errorf("%w: %w", errRecord, err)
	}
	return k, b[n:], nil
}
