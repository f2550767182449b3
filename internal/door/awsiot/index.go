package awsiot

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/twin"
)

// Fleet answers queries over all twins.
type Fleet interface {
	Query(ctx context.Context, r *fleet.Request) (*fleet.Page, error)
	Aggregate(ctx context.Context, r *fleet.AggregateRequest) (*fleet.Aggregate, error)
}

// ConnectFleet gives the control plane its index and registry. It is called once, before
// the first request.
func (d *Door) ConnectFleet(f Fleet, r Registry) { d.fleet, d.registry = f, r }

// indexName is the name of the index of things.
const indexName = "AWS_Things"

const (
	indexResultsMax     = 500
	indexResultsDefault = 100
	bucketsMax          = 10_000 // as on AWS; here not more than the index has
)

// indexRequest is the body of all operations of fleet indexing.
//
// Source: the service model of iot, SearchIndex, GetStatistics, GetPercentiles,
// GetCardinality, GetBucketsAggregation.
type indexRequest struct {
	IndexName        string    `json:"indexName"`
	QueryString      string    `json:"queryString"`
	QueryVersion     string    `json:"queryVersion"`
	NextToken        string    `json:"nextToken"`
	MaxResults       *int      `json:"maxResults"`
	AggregationField string    `json:"aggregationField"`
	Percents         []float64 `json:"percents"`
	Buckets          struct {
		Terms *struct {
			Max int `json:"maxBuckets"`
		} `json:"termsAggregation"`
	} `json:"bucketsAggregationType"`
}

// thingDocument is a thing as SearchIndex shows it.
type thingDocument struct {
	ThingName     twin.ThingName    `json:"thingName"`
	ThingTypeName string            `json:"thingTypeName,omitempty"`
	Attributes    map[string]string `json:"attributes,omitempty"`
	Shadow        string            `json:"shadow,omitempty"` // JSON
	Connectivity  struct {
		Connected bool `json:"connected"`
	} `json:"connectivity"`
}

// index serves fleet indexing.
func (x *exchange) index() {
	name, err := url.PathUnescape(strings.TrimPrefix(strings.TrimPrefix(x.r.URL.EscapedPath(), "/indices"), "/"))
	if err != nil {
		x.failIndex("InvalidRequestException", "Invalid percent-encoding in the path")
		return
	}
	ops := map[string]func(*indexRequest) (any, error){
		"search": x.searchIndex, "statistics": x.indexStatistics, "percentiles": x.indexPercentiles, "cardinality": x.indexCardinality, "buckets": x.indexBuckets,
	}
	op := ops[name]
	switch {
	case x.r.Method == http.MethodGet && name == "":
		x.replyJSON(http.StatusOK, map[string]any{"indexNames": []string{indexName}})
	case x.r.Method == http.MethodGet && name == indexName:
		x.replyJSON(http.StatusOK, map[string]any{"indexName": indexName, "indexStatus": "ACTIVE", "schema": "REGISTRY_AND_SHADOW_AND_CONNECTIVITY_STATUS"})
	case x.r.Method == http.MethodGet && op == nil:
		x.fault(Status{http.StatusNotFound, "ResourceNotFoundException"}, fmt.Sprintf("There is no index %.64q; there is %s", name, indexName))
	case x.r.Method == http.MethodPost && op != nil:
		x.indexed(op)
	default:
		x.fault(Status{http.StatusMethodNotAllowed, "MethodNotAllowedException"}, "Method "+x.r.Method+" is not allowed here")
	}
}

// indexed reads a request, lets it be answered and answers.
func (x *exchange) indexed(op func(*indexRequest) (any, error)) {
	var req indexRequest
	if err := x.jobBodyOf(&req); err != nil {
		x.failIndex("InvalidRequestException", twin.ErrorMessage(err))
		return
	}
	switch {
	case req.IndexName != "" && req.IndexName != indexName:
		x.fault(Status{http.StatusNotFound, "ResourceNotFoundException"}, fmt.Sprintf("There is no index %.64q; there is %s", req.IndexName, indexName))
		return
	case req.QueryVersion != "" && req.QueryVersion != "2017-09-30":
		x.failIndex("InvalidRequestException", fmt.Sprintf("There is no query version %.32q; there is 2017-09-30", req.QueryVersion))
		return
	}
	answer, err := op(&req)
	var query *queryError
	var at *fleet.Error
	switch {
	case errors.As(err, &query):
		x.failIndex(query.class, query.Error())
	case errors.As(err, &at):
		x.failIndex("InvalidRequestException", at.Reason)
	case err != nil:
		x.fail(err)
	default:
		x.replyJSON(http.StatusOK, answer)
	}
}

func (x *exchange) failIndex(class, message string) {
	x.fault(Status{http.StatusBadRequest, class}, message)
}

// queryError is a query that cannot be answered, with its class on AWS.
type queryError struct{ class, reason string }

func (e *queryError) Error() string { return e.reason }

func (r *indexRequest) where() (string, error) {
	where, err := parseIndexQuery(r.QueryString)
	if err != nil {
		return "", &queryError{"InvalidQueryException", "The query cannot be read: " + err.Error()}
	}
	return where, nil
}

func (x *exchange) searchIndex(r *indexRequest) (any, error) {
	where, err := r.where()
	if err != nil {
		return nil, err
	}
	limit := indexResultsDefault
	if r.MaxResults != nil {
		if limit = *r.MaxResults; limit < 1 || limit > indexResultsMax {
			return nil, &queryError{"InvalidRequestException", fmt.Sprintf("maxResults: %d is not 1 to %d", limit, indexResultsMax)}
		}
	}
	page, err := x.door.fleet.Query(x.r.Context(), &fleet.Request{
		Where: where, Limit: limit, Cursor: r.NextToken, Select: []string{"model", "tags", "connected", "version", "reported", "desired", "delta", "shadows"},
	})
	if err != nil {
		return nil, err
	}
	answer := struct {
		NextToken string          `json:"nextToken,omitempty"`
		Things    []thingDocument `json:"things"`
	}{page.Next, []thingDocument{}}
	for i := range page.Rows {
		t, err := newThingDocument(&page.Rows[i])
		if err != nil {
			return nil, err
		}
		answer.Things = append(answer.Things, t)
	}
	return answer, nil
}

func newThingDocument(row *fleet.Row) (t thingDocument, err error) {
	t.ThingName = row.ID
	for i, into := range []any{&t.ThingTypeName, &t.Attributes, &t.Connectivity.Connected} {
		if err := json.Unmarshal(row.Values[i], into); err != nil {
			return t, fmt.Errorf("read %s of the index: %w", row.ID, err)
		}
	}
	var named map[string]map[string]json.RawMessage
	if err := json.Unmarshal(row.Values[7], &named); err != nil {
		return t, fmt.Errorf("read %s of the index: %w", row.ID, err)
	}
	for _, sh := range named {
		sh["hasDelta"] = json.RawMessage(strconv.FormatBool(sh["delta"] != nil))
	}
	shadow := map[string]any{}
	if len(named) > 0 {
		shadow["name"] = named
	}
	if string(row.Values[3]) == "null" { // it has no classic shadow
		if len(named) == 0 {
			return t, nil
		}
		b, err := json.Marshal(shadow)
		t.Shadow = string(b)
		return t, err
	}
	shadow["version"], shadow["hasDelta"] = row.Values[3], string(row.Values[6]) != "{}"
	for i, name := range []string{"reported", "desired", "delta"} {
		if part := row.Values[4+i]; string(part) != "{}" {
			shadow[name] = part
		}
	}
	b, err := json.Marshal(shadow)
	t.Shadow = string(b)
	return t, err
}

// aggregate answers with figures of the field of a request, in the order of the calls.
func (x *exchange) aggregate(r *indexRequest, calls ...string) ([]json.RawMessage, error) {
	where, err := r.where()
	if err != nil {
		return nil, err
	}
	f, err := fieldOf(r.AggregationField)
	if err != nil {
		return nil, &queryError{"InvalidAggregationException", "aggregationField: " + err.Error()}
	}
	q := fleet.AggregateRequest{Where: where}
	for _, call := range calls {
		q.Figures = append(q.Figures, strings.ReplaceAll(call, "$", f.source))
	}
	a, err := x.door.fleet.Aggregate(x.r.Context(), &q)
	if err != nil || len(a.Groups) == 0 {
		return nil, err
	}
	return a.Groups[0].Figures, nil
}

// statistics are those of the numbers of a field; of a field without numbers there is only
// the count.
type statistics struct {
	Count        int      `json:"count"`
	Average      *float64 `json:"average,omitempty"`
	Sum          *float64 `json:"sum,omitempty"`
	Minimum      *float64 `json:"minimum,omitempty"`
	Maximum      *float64 `json:"maximum,omitempty"`
	SumOfSquares *float64 `json:"sumOfSquares,omitempty"`
	Variance     *float64 `json:"variance,omitempty"`
	StdDeviation *float64 `json:"stdDeviation,omitempty"`
}

func (x *exchange) indexStatistics(r *indexRequest) (any, error) {
	if r.AggregationField == "" { // counts things, as each has a name
		r.AggregationField = "thingName"
	}
	// x * 1 leaves out what is no number.
	calls := []string{"count($)"}
	if f, err := fieldOf(r.AggregationField); err == nil && f.kind != fieldText && f.kind != fieldBool && f.kind != fieldHasPart {
		calls = append(calls, "count($ * 1)", "avg($ * 1)", "sum($ * 1)", "min($ * 1)", "max($ * 1)", "sum($ * $)")
	}
	figures, err := x.aggregate(r, calls...)
	if err != nil {
		return nil, err
	}
	s := statistics{}
	numbers := make([]*float64, 7)
	for i, raw := range figures {
		if err := json.Unmarshal(raw, &numbers[i]); err != nil {
			return nil, fmt.Errorf("read a figure: %w", err)
		}
	}
	if numbers[0] != nil {
		s.Count = int(*numbers[0])
	}
	if n := numbers[1]; n != nil && *n > 0 {
		variance := math.Max(0, *numbers[6]/(*n)-(*numbers[2])*(*numbers[2]))
		deviation := math.Sqrt(variance)
		s.Average, s.Sum, s.Minimum, s.Maximum, s.SumOfSquares = numbers[2], numbers[3], numbers[4], numbers[5], numbers[6]
		s.Variance, s.StdDeviation = &variance, &deviation
	}
	return map[string]any{"statistics": s}, nil
}

// percentsDefault are those of AWS.
var percentsDefault = []float64{1, 5, 25, 50, 75, 95, 99}

func (x *exchange) indexPercentiles(r *indexRequest) (any, error) {
	if len(r.Percents) == 0 {
		r.Percents = percentsDefault
	}
	if len(r.Percents) > fleet.FiguresMax {
		return nil, &queryError{"InvalidRequestException", fmt.Sprintf("more than %d percents", fleet.FiguresMax)}
	}
	type percentile struct {
		Percent float64         `json:"percent"`
		Value   json.RawMessage `json:"value"`
	}
	var calls []string
	for _, p := range r.Percents {
		if p < 0 || p > 100 {
			return nil, &queryError{"InvalidAggregationException", fmt.Sprintf("percents: %g is not 0 to 100", p)}
		}
		calls = append(calls, "percentile($ * 1, "+strconv.FormatFloat(p, 'f', -1, 64)+")")
	}
	figures, err := x.aggregate(r, calls...)
	list := []percentile{}
	for i, v := range figures {
		if string(v) != "null" {
			list = append(list, percentile{r.Percents[i], v})
		}
	}
	return map[string]any{"percentiles": list}, err
}

func (x *exchange) indexCardinality(r *indexRequest) (any, error) {
	figures, err := x.aggregate(r, "distinct($)")
	if err != nil {
		return nil, err
	}
	count := json.RawMessage("0")
	if len(figures) > 0 {
		count = figures[0]
	}
	return map[string]any{"cardinality": count}, nil
}

func (x *exchange) indexBuckets(r *indexRequest) (any, error) {
	most := 10
	if r.Buckets.Terms != nil && r.Buckets.Terms.Max != 0 {
		most = r.Buckets.Terms.Max
	}
	if most < 1 || most > bucketsMax {
		return nil, &queryError{"InvalidRequestException", fmt.Sprintf("maxBuckets: %d is not 1 to %d", most, bucketsMax)}
	}
	figures, err := x.aggregate(r, "count()", fmt.Sprintf("top($, %d)", min(most, fleet.BucketsMax)))
	if err != nil {
		return nil, err
	}
	type bucket struct {
		KeyValue string `json:"keyValue"`
		Count    int    `json:"count"`
	}
	answer := struct {
		TotalCount json.RawMessage `json:"totalCount"`
		Buckets    []bucket        `json:"buckets"`
	}{json.RawMessage("0"), []bucket{}}
	if len(figures) == 0 {
		return answer, nil
	}
	answer.TotalCount = figures[0]
	var top []struct {
		Value json.RawMessage
		Count int
	}
	if err := json.Unmarshal(figures[1], &top); err != nil {
		return nil, fmt.Errorf("read the buckets: %w", err)
	}
	for _, t := range top {
		text := string(t.Value)
		if strings.HasPrefix(text, `"`) {
			if err := json.Unmarshal(t.Value, &text); err != nil {
				return nil, fmt.Errorf("read a bucket: %w", err)
			}
		}
		answer.Buckets = append(answer.Buckets, bucket{text, t.Count})
	}
	return answer, nil
}
