package rest

import (
	"context"
	"errors"
	"net/http"

	"github.com/twofold-iot/twofold/internal/fleet"
	"github.com/twofold-iot/twofold/internal/group"
	"github.com/twofold-iot/twofold/twin"
)

// Groups are saved conditions whose members are known.
type Groups interface {
	Groups() []group.Group
	Group(name string) (group.Group, error)
	Members(name string, after twin.ThingName, limit int) ([]twin.ThingName, error)
	Put(ctx context.Context, name, where, about string) (group.Group, error)
	Delete(ctx context.Context, name string) error
}

type groupDocument struct {
	Name    string `json:"name"`
	Where   string `json:"where"`
	About   string `json:"about,omitempty"`
	Members int    `json:"members"`
	Created string `json:"createdAt"`
	Changed string `json:"changedAt"` // the definition
}

func newGroupDocument(g *group.Group) groupDocument {
	return groupDocument{g.Name, g.Where, g.About, g.Members, timeText(g.Created), timeText(g.Changed)}
}

type groupList struct {
	Groups []groupDocument `json:"groups"`
}

// groupDefinition is what a group is to be.
type groupDefinition struct {
	Where string `json:"where"`
	About string `json:"about,omitempty"`
}

type groupMembers struct {
	Name    string           `json:"name"`
	Total   int              `json:"total"`
	Members []twin.ThingName `json:"members"` // by name
	Next    string           `json:"next,omitempty"`
}

func (d *door) groupRoutes() []route {
	return []route{
		{
			method: "GET", path: "/api/v1/groups", name: "listGroups", summary: "List the live groups",
			answer: groupList{}, handler: d.listGroups,
		}, {
			method: "GET", path: "/api/v1/groups/{group}", name: "getGroup", summary: "Read a live group",
			answer: groupDocument{}, handler: d.getGroup,
		}, {
			method: "PUT", path: "/api/v1/groups/{group}", name: "putGroup", summary: "Save a condition as a live group, or give one another condition: who enters and leaves it from now on is an event",
			body: groupDefinition{}, answer: groupDocument{}, handler: d.putGroup,
		}, {
			method: "DELETE", path: "/api/v1/groups/{group}", name: "deleteGroup", summary: "End a live group; its members leave it",
			answer: groupDocument{}, handler: d.deleteGroup,
		}, {
			method: "GET", path: "/api/v1/groups/{group}/members", name: "listGroupMembers", summary: "List the members of a live group by name",
			query: []string{"limit", "cursor"}, answer: groupMembers{}, handler: d.listGroupMembers,
		},
	}
}

func (d *door) listGroups(w http.ResponseWriter, _ *http.Request) error {
	list := groupList{Groups: []groupDocument{}}
	for _, g := range d.opts.Groups.Groups() {
		list.Groups = append(list.Groups, newGroupDocument(&g))
	}
	return writeJSON(w, list)
}

func (d *door) getGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := d.opts.Groups.Group(r.PathValue("group"))
	if err != nil {
		return err
	}
	return writeJSON(w, newGroupDocument(&g))
}

func (d *door) putGroup(w http.ResponseWriter, r *http.Request) error {
	var def groupDefinition
	if err := d.decode(w, r, &def); err != nil {
		return err
	}
	if def.Where == "" {
		return badBody("#/where", "where: the condition is missing")
	}
	g, err := d.opts.Groups.Put(r.Context(), r.PathValue("group"), def.Where, def.About)
	var at *fleet.Error
	if errors.As(err, &at) {
		return fleetError(err)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, newGroupDocument(&g))
}

func (d *door) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	g, err := d.opts.Groups.Group(r.PathValue("group"))
	if err == nil {
		err = d.opts.Groups.Delete(r.Context(), g.Name)
	}
	if err != nil {
		return err
	}
	return writeJSON(w, newGroupDocument(&g))
}

func (d *door) listGroupMembers(w http.ResponseWriter, r *http.Request) error {
	limit, after, err := pageOf(r)
	if err != nil {
		return err
	}
	g, err := d.opts.Groups.Group(r.PathValue("group"))
	if err != nil {
		return err
	}
	list, err := d.opts.Groups.Members(g.Name, twin.ThingName(after), limit+1)
	if err != nil {
		return err
	}
	page := groupMembers{Name: g.Name, Total: g.Members, Members: list[:min(len(list), limit)]}
	if len(list) > limit {
		page.Next = cursorOf(string(list[limit-1]))
	}
	linkNext(w, r, page.Next)
	return writeJSON(w, page)
}
