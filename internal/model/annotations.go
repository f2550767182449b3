package model

import (
	"fmt"

	"github.com/goccy/go-yaml/ast"

	"github.com/twofold-iot/twofold/internal/expr"
	"github.com/twofold-iot/twofold/twin"
)

// AnnotationsMax bounds the annotations of a model.
const AnnotationsMax = 50

// parseAnnotations reads a list of attributes of desired.
func (m *Model) parseAnnotations(n ast.Node, env *expr.Env) error {
	list, ok := n.(*ast.SequenceNode)
	if !ok {
		return fault(n, "annotations is a list of attributes of desired", "write [desired.note]")
	}
	if len(list.Values) > AnnotationsMax {
		return fault(n, fmt.Sprintf("more than %d annotations", AnnotationsMax), "")
	}
	for _, v := range list.Values {
		var source string
		if err := text(&source, expr.SourceBytesMax)(v); err != nil {
			return err
		}
		p, err := expr.Compile(source, env)
		if err != nil || len(p.Reads()) != 1 || p.Reads()[0].Expression() != source || len(p.Reads()[0]) < 2 || p.Reads()[0][0] != "desired" {
			return fault(v, fmt.Sprintf("annotations: %.80q is no attribute of desired", source), "write desired.note")
		}
		m.annotations = append(m.annotations, p.Reads()[0][1:])
	}
	return nil
}

// Drift is the delta of a shadow without what the model says are annotations: keys of desired
// that no device is to report, and so are no drift. nil: there is none. Devices get the delta
// as it is on AWS.
func (m *Model) Drift(s *twin.Shadow) *twin.Node {
	if m == nil {
		return s.Delta()
	}
	return s.Delta().Without(m.annotations)
}
