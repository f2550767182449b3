package job

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/twofold-iot/twofold/twin"
)

// Report is a job and how many of its things stand where.
type Report = twin.JobReport

func (j *job) report() Report { return Report{Job: j.Job, Counts: j.counts} }

// Job returns a job as it is durable.
func (s *Service) Job(id twin.JobID) (Report, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if j := s.jobs[id]; j != nil {
		return j.report(), true
	}
	return Report{}, false
}

// Jobs lists all jobs, the newest first.
func (s *Service) Jobs() []Report {
	s.mu.Lock()
	list := make([]Report, 0, len(s.jobs))
	for _, j := range s.jobs {
		list = append(list, j.report())
	}
	s.mu.Unlock()
	slices.SortFunc(list, func(a, b Report) int {
		return cmp.Or(cmp.Compare(b.Created, a.Created), cmp.Compare(a.ID, b.ID))
	})
	return list
}

// Executions lists the executions of a job by thing, greater than after, with one of some
// statuses (none: all).
func (s *Service) Executions(ctx context.Context, id twin.JobID, statuses []twin.ExecutionStatus, after twin.ThingName, limit int) ([]twin.JobExecution, error) {
	if _, ok := s.Job(id); !ok {
		return nil, errNoJob(id)
	}
	prefix := twin.JobExecutionKeys(id)
	key := ""
	if after != "" {
		key = twin.JobExecutionKey(id, after)
	}
	var list []twin.JobExecution
	for {
		page, err := s.engine.Records(ctx, twin.RecordExecution, prefix, key, loadPage)
		if err != nil {
			return nil, fmt.Errorf("list executions: %w", err)
		}
		for _, r := range page {
			e, err := twin.DecodeJobExecution(r.Value)
			if err != nil {
				return nil, fmt.Errorf("read execution %q: %w", r.Key, err)
			}
			key = r.Key
			if len(statuses) > 0 && !slices.Contains(statuses, e.Status) {
				continue
			}
			if list = append(list, e); len(list) == limit {
				return list, nil
			}
		}
		if len(page) < loadPage {
			return list, nil
		}
	}
}

// OfThing lists the executions of a thing, those queued last first, with one of some
// statuses (none: all), queued before a number (0: all).
func (s *Service) OfThing(ctx context.Context, name twin.ThingName, statuses []twin.ExecutionStatus, before twin.Seq, limit int) ([]twin.JobExecution, error) {
	after := ""
	if before != 0 {
		after = strings.TrimSuffix(twin.ThingJobKey(name, before-1, "x"), "x")
	}
	var list []twin.JobExecution
	for {
		page, err := s.engine.Records(ctx, twin.RecordThingJob, twin.ThingJobKeys(name), after, thingPage)
		if err != nil {
			return nil, fmt.Errorf("list the jobs of %s: %w", name, err)
		}
		for _, r := range page {
			after = r.Key
			id, err := twin.ThingJobOf(r.Key)
			if err != nil {
				return nil, err
			}
			e, found, err := s.stored(ctx, id, name)
			if err != nil {
				return nil, err
			}
			if !found || len(statuses) > 0 && !slices.Contains(statuses, e.Status) {
				continue
			}
			if list = append(list, e); len(list) == limit {
				return list, nil
			}
		}
		if len(page) < thingPage {
			return list, nil
		}
	}
}

const thingPage = 100
