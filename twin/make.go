package twin

import (
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// ObjectNode makes an object without times: what has been taken apart is put together
// again for an expression. Names and nodes go in pairs, each name once; nodes are copied.
func ObjectNode(names []string, nodes []*Node) *Node {
	o := &Node{kind: kindObject, kids: make([]Node, len(names))}
	for i, name := range names {
		o.kids[i] = *nodes[i]
		o.kids[i].key = quoted(name)
	}
	return o
}

// ScalarNode makes a scalar without a time.
func ScalarNode(v Value) *Node {
	switch {
	case v.Type == ValueText:
		return &Node{kind: kindString, text: quoted(v.Text)}
	case v.Type == ValueBool && v.Number != 0:
		return &Node{kind: kindTrue}
	case v.Type == ValueBool:
		return &Node{kind: kindFalse}
	}
	return &Node{kind: kindNumber, text: string(v.AppendJSON(nil))}
}

// ParseNode reads a JSON value as one of a shadow.
func ParseNode(text []byte) (*Node, error) {
	body := append([]byte(`{"state":{"reported":{"v":`), text...)
	req, err := ParseRequest(append(body, `}}}`...), Limits{DocumentBytesMax: len(text) + 1024, DepthMax: DepthLimit})
	if err != nil {
		return nil, err
	}
	n := req.state.find(keyReported).find(`"v"`)
	if n == nil {
		return nil, fmt.Errorf("%.40q is no value", text)
	}
	return n, nil
}

func quoted(name string) string {
	b, err := jsontext.AppendQuote(nil, name)
	if err != nil { // no UTF-8, which no shadow has
		return `""`
	}
	return string(b)
}

// OldestStamp returns when what was sent first of all that is in n was sent, in seconds
// since the epoch; 0 if there is nothing.
func (n *Node) OldestStamp() int64 {
	if n == nil || n.kind != kindObject {
		if n == nil {
			return 0
		}
		return n.stamp
	}
	oldest := int64(0)
	for i := range n.kids {
		if s := n.kids[i].OldestStamp(); s != 0 && (oldest == 0 || s < oldest) {
			oldest = s
		}
	}
	return oldest
}
