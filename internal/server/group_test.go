package server_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// memberships folds the group events of a thing: which groups it is in. An event that says what
// was so already is a fault.
func (r *running) memberships(t *testing.T, thing string) []string {
	t.Helper()
	_, body := r.call(t, "GET", "/api/v1/twins/"+thing+"/events?kind=group&order=oldest&format=ndjson&limit=1000", "")
	in := map[string]bool{}
	for line := range strings.Lines(body) {
		var ev struct{ Type, CorrelationID string }
		if err := json.Unmarshal([]byte(line), &ev); err != nil {
			t.Fatal(err)
		}
		if now := ev.Type == "entered"; in[ev.CorrelationID] == now {
			t.Errorf("%s: %s %s twice", thing, ev.Type, ev.CorrelationID)
		}
		in[ev.CorrelationID] = ev.Type == "entered"
	}
	var list []string
	for name, member := range in {
		if member {
			list = append(list, name)
		}
	}
	slices.Sort(list)
	return list
}

func (r *running) members(t *testing.T, group string) []string {
	t.Helper()
	var answer struct{ Members []string }
	status, body := r.call(t, "GET", "/api/v1/groups/"+group+"/members?limit=1000", "")
	if err := json.Unmarshal([]byte(body), &answer); err != nil || status != 200 {
		t.Fatalf("%d %s", status, body)
	}
	return answer.Members
}

// The events of all twins come to the members, and those to what a query finds; also after a
// restart, another condition and the end of the group.
func TestGroups(t *testing.T) {
	c := config(t)
	r := start(t, c)
	must := func(method, path, body string) {
		t.Helper()
		if status, body := r.call(t, method, path, body); status >= 300 {
			t.Fatalf("%s %s: %d %s", method, path, status, body)
		}
	}
	conditions := map[string]string{"hot": "reported.temp > 50", "old": "now - lastSeen > duration('1h')", "even": "reported.temp % 2.0 == 0.0"}
	if status, _ := r.call(t, "PUT", "/api/v1/groups/even", `{"where":"reported.temp % 2.0 == 0.0"}`); status != 200 {
		conditions["even"] = "int(reported.temp) % 2 == 0"
	}
	for name, where := range conditions {
		must("PUT", "/api/v1/groups/"+name, `{"where":"`+where+`"}`)
	}
	random := rand.New(rand.NewPCG(3, 3))
	const things = 20
	for range 300 {
		id := fmt.Sprint("t", random.IntN(things))
		if random.IntN(20) == 0 {
			r.call(t, "DELETE", "/api/v1/twins/"+id+"?whole=true", "")
			continue
		}
		must("PATCH", "/api/v1/twins/"+id+"/reported", fmt.Sprintf(`{"temp":%d}`, random.IntN(100)))
	}
	check := func(what string) {
		t.Helper()
		until(t, what, func() bool {
			for name, where := range conditions {
				if !slices.Equal(r.members(t, name), r.find(t, where)) {
					return false
				}
			}
			return true
		})
		in := map[string][]string{"hot": {}, "old": {}, "even": {}}
		for i := range things {
			id := fmt.Sprint("t", i)
			for _, name := range r.memberships(t, id) {
				in[name] = append(in[name], id)
			}
		}
		for name := range conditions {
			slices.Sort(in[name])
			if got := r.members(t, name); !slices.Equal(got, in[name]) {
				t.Errorf("%s: %s has %v, by the events %v", what, name, got, in[name])
			}
		}
	}
	check("after updates")
	if len(r.members(t, "hot")) < 3 {
		t.Error("hot is not tested")
	}
	r.stop()
	if err := r.wait(t); err != nil {
		t.Fatal(err)
	}
	r = start(t, c)
	check("after a restart")
	conditions["hot"] = "reported.temp < 20"
	must("PUT", "/api/v1/groups/hot", `{"where":"reported.temp < 20"}`)
	check("after another condition")
	must("DELETE", "/api/v1/groups/hot", "")
	for i := range things {
		if slices.Contains(r.memberships(t, fmt.Sprint("t", i)), "hot") {
			t.Errorf("t%d is in a group that has ended", i)
		}
	}
}
