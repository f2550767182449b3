package twin_test

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/twofold-iot/twofold/twin"
)

// Where a wave ends, beside the list of all waves.
func TestJob_WaveEnd(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		j := twin.Job{Things: rapid.IntRange(1, 300).Draw(t, "things")}
		for i := range rapid.IntRange(0, 4).Draw(t, "waves") {
			w := twin.JobWave{Pause: int64(i+1) * 1000}
			if rapid.Bool().Draw(t, "percent?") {
				w.Percent = rapid.Float64Range(0.01, 100).Draw(t, "percent")
			} else {
				w.Size = rapid.IntRange(1, 100).Draw(t, "size")
			}
			j.Waves = append(j.Waves, w)
		}
		var ends []int
		var pauses []time.Duration // after the wave
		for i, end := 0, 0; end < j.Things; i++ {
			if len(j.Waves) == 0 {
				ends, pauses = []int{j.Things}, []time.Duration{0}
				break
			}
			w := j.Waves[min(i, len(j.Waves)-1)]
			size := w.Size
			if w.Percent > 0 {
				size = max(1, int(math.Ceil(w.Percent*float64(j.Things)/100)))
			}
			end = min(end+size, j.Things)
			ends, pauses = append(ends, end), append(pauses, time.Duration(w.Pause)*time.Millisecond)
		}
		for n, wave := 0, 0; n < j.Things; n++ {
			want := time.Duration(0)
			if n == ends[wave] {
				want = pauses[wave]
				wave++
			}
			if end, pause := j.WaveEnd(n); end != ends[wave] || pause != want {
				t.Fatalf("after %d things: wave ends at %d after a pause of %s, want %d, %s", n, end, pause, ends[wave], want)
			}
		}
	})
}

// The bytes on disk; see docs/format/job.md.
func TestJob_golden(t *testing.T) {
	j := twin.NewJob(&twin.JobRequest{
		ID: "fw-2", Document: []byte(`{"version":"2.0"}`), Things: []twin.ThingName{"a", "b"}, Waves: []twin.JobWave{{Size: 1, Pause: 5}}, Rate: 2,
		Aborts: []twin.JobAbort{{Failure: "all", Percent: 5, MinEnded: 3}}, Timeout: 4, Artifacts: []twin.JobArtifact{{Name: "x", SHA256: "00"}},
	}, "me", 1000)
	e := j.NewExecution("a", 7, 2000)
	e, err := e.Next(&j, &twin.JobStep{Status: twin.ExecutionInProgress, Details: map[string]string{"b": "2", "a": "1"}, StepMinutes: 1}, 3000)
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		value interface{ AppendBinary([]byte) ([]byte, error) }
		want  string
	}{
		"job": {&j, "\x01" + `{"id":"fw-2","document":{"version":"2.0"},"version":"2.0","things":2,"waves":[{"size":1,"pause":5}],"rate":2,` +
			`"aborts":[{"failure":"all","percent":5,"minEnded":3}],"timeout":4,"artifacts":[{"name":"x","sha256":"00"}],"state":"running","by":"me","created":1000,"changed":1000}`},
		"execution": {&e, "\x01" + `{"job":"fw-2","thing":"a","number":7,"status":"in_progress","details":{"a":"1","b":"2"},"version":2,"firmware":"2.0",` +
			`"queued":2000,"started":3000,"updated":3000,"timesOut":243000,"stepTimesOut":63000}`},
		"artifact": {&twin.Artifact{Name: "x", Upload: "u", Size: 3, SHA256: "00", Created: 5, Ready: true}, "\x01" + `{"name":"x","upload":"u","size":3,"sha256":"00","created":5,"ready":true}`},
	} {
		got, err := c.value.AppendBinary(nil)
		if err != nil || string(got) != c.want {
			t.Errorf("%s: %v\ngot  %q\nwant %q", what, err, got, c.want)
		}
	}
	b, err := e.AppendBinary(nil)
	if err != nil {
		t.Fatal(err)
	}
	for what, damaged := range map[string][]byte{
		"none": nil, "another format": append([]byte{2}, b[1:]...), "cut": b[:len(b)-1],
		"a member too many": bytes.Replace(b, []byte(`{"job"`), []byte(`{"x":1,"job"`), 1), "a status that is none": bytes.Replace(b, []byte("in_progress"), []byte("in_regress"), 1),
	} {
		if _, err := twin.DecodeJobExecution(damaged); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
	if got := twin.JobExecutionKey("fw-2", "a"); got != "fw-2\x00a" {
		t.Errorf("key %q", got)
	}
	key := twin.ThingJobKey("a", 7, "fw-2")
	if want := "a\x00\xff\xff\xff\xff\xff\xff\xff\xf8fw-2"; key != want {
		t.Errorf("key %q, want %q", key, want)
	}
	if id, err := twin.ThingJobOf(key); err != nil || id != "fw-2" {
		t.Errorf("job %q, %v", id, err)
	}
}

func TestJobStep_Check(t *testing.T) {
	many := map[string]string{}
	for i := range 11 {
		many[strings.Repeat("k", i+1)] = "v"
	}
	for fault, s := range map[string]twin.JobStep{
		"11 members":                {Details: many},
		"1 to 128 characters":       {Details: map[string]string{"a b": "v"}},
		"1 to 1024 printable":       {Details: map[string]string{"a": ""}},
		"value of b is not":         {Details: map[string]string{"b": strings.Repeat("x", 1025)}},
		"value of c is not":         {Details: map[string]string{"c": "a\x00"}},
		"stepTimeoutInMinutes: -2":  {StepMinutes: -2},
		"stepTimeoutInMinutes: 100": {StepMinutes: 10081},
	} {
		s.Status = twin.ExecutionInProgress
		if err := s.Check(); twin.Kind(err) != twin.KindInvalid || !strings.Contains(err.Error(), fault) {
			t.Errorf("%v, want %q", err, fault)
		}
	}
}
