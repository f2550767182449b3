package rest_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/twofold-iot/twofold/internal/door/rest"
)

func TestStorage(t *testing.T) {
	w := newWorld(t)
	res := w.api.call("GET", "/api/v1/storage", "")
	if res.Code != http.StatusOK || !strings.Contains(res.Body.String(), `"fullAt":"2026-12-04T00:00:00Z"`) {
		t.Fatalf("%d %s", res.Code, res.Body)
	}
}

func TestStorageReport_Forecast(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	growth := func(n uint64) *uint64 { return &n }
	days := make([]rest.StorageDay, 10)
	for _, test := range []struct {
		what     string
		report   rest.StorageReport
		keepDays int
		full     string
		why      string
	}{
		{"no whole day yet", rest.StorageReport{FreeBytes: 1000}, 0, "", "not enough data"},
		{"no growth", rest.StorageReport{FreeBytes: 1000, GrowthBytes: growth(0)}, 0, "", "does not grow"},
		{"free space unknown", rest.StorageReport{GrowthBytes: growth(10)}, 0, "", "does not tell"},
		{"for ever", rest.StorageReport{FreeBytes: 1000, GrowthBytes: growth(10), Days: days}, 0, "2027-03-02", ""},
		{"full before retention helps", rest.StorageReport{FreeBytes: 100, GrowthBytes: growth(10), Days: days}, 90, "2026-12-02", ""},
		{"retention helps before", rest.StorageReport{FreeBytes: 1000, GrowthBytes: growth(10), Days: days}, 90, "", "until 90 days are kept"},
		{"hardly any growth", rest.StorageReport{FreeBytes: 1 << 40, GrowthBytes: growth(10)}, 0, "", "not within 100 years"},
	} {
		test.report.Forecast(now, test.keepDays)
		full := ""
		if test.report.Full != nil {
			full = test.report.Full.Format(time.DateOnly)
		}
		if full != test.full || (test.why == "") != (test.report.Why == "") || !strings.Contains(test.report.Why, test.why) {
			t.Errorf("%s: full %q, why %q; want %q, %q", test.what, full, test.report.Why, test.full, test.why)
		}
	}
}
