package client

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/twofold-iot/twofold/twin"
)

// Group is a live group: a saved condition over all twins, whose members are known.
type Group struct {
	Name    string
	Where   string
	About   string
	Members int
	Created time.Time `json:"createdAt"`
	Changed time.Time `json:"changedAt"` // the definition
}

func groupPath(name, rest string) string { return "/api/v1/groups/" + url.PathEscape(name) + rest }

// Groups lists the live groups.
func (c *Client) Groups(ctx context.Context) ([]Group, error) {
	var answer struct{ Groups []Group }
	err := c.get(ctx, "/api/v1/groups", &answer)
	return answer.Groups, err
}

// PutGroup saves a condition as a live group, or gives one another condition.
func (c *Client) PutGroup(ctx context.Context, name, where, about string) (Group, error) {
	var g Group
	body, err := json.Marshal(map[string]string{"where": where, "about": about})
	if err != nil {
		return g, fmt.Errorf("make the request: %w", err)
	}
	a, err := c.do(ctx, http.MethodPut, groupPath(name, ""), http.Header{"Content-Type": {"application/json"}}, body)
	if err != nil {
		return g, err
	}
	if err := json.Unmarshal(a.body, &g); err != nil {
		return g, fmt.Errorf("read the answer to %s: %w", a.request, err)
	}
	return g, nil
}

// DeleteGroup ends a live group; its members leave it.
func (c *Client) DeleteGroup(ctx context.Context, name string) error {
	_, err := c.do(ctx, http.MethodDelete, groupPath(name, ""), nil, nil)
	return err
}

// GroupMembers lists the members of a live group, at most so many; 0: all.
func (c *Client) GroupMembers(ctx context.Context, name string, limit int) ([]twin.ThingName, error) {
	var list []twin.ThingName
	for cursor := ""; ; {
		page := 1000
		if limit > 0 {
			page = min(page, limit-len(list))
		}
		var answer struct {
			Members []twin.ThingName
			Next    string
		}
		v := url.Values{"limit": {strconv.Itoa(page)}}
		setText(v, "cursor", cursor)
		if err := c.get(ctx, groupPath(name, "/members?")+v.Encode(), &answer); err != nil {
			return nil, err
		}
		list = append(list, answer.Members...)
		if cursor = answer.Next; cursor == "" || limit > 0 && len(list) >= limit {
			return list, nil
		}
	}
}
