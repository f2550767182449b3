package twin

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The documents below have their keys in the order in which AWS has them (spec §5,
// last line); no client may depend on it.

// AppendAccepted appends the update/accepted or delete/accepted document. Of an
// update it is what was sent, nulls included, and not the merged document.
func (c *Change) AppendAccepted(dst []byte) []byte {
	seconds := c.Time.Seconds()
	dst = append(dst, '{')
	if c.Kind == EventUpdated {
		dst = append(dst, `"state":`...)
		dst = append(dst, c.Request.text...)
		dst = append(dst, `,"metadata":`...)
		dst = c.Request.state.appendStamped(dst, seconds)
		dst = append(dst, ',')
	}
	dst = appendVersion(dst, c.Version)
	dst = appendTimestamp(dst, seconds)
	return append(c.Request.appendToken(dst), '}')
}

// AppendDelta appends the update/delta document: all that is outstanding, not only
// what this change touched. It appends nothing if there is no delta.
func (c *Change) AppendDelta(dst []byte) []byte {
	delta := c.Current.Delta()
	if delta == nil {
		return dst
	}
	dst = append(dst, '{')
	dst = appendVersion(dst, c.Version)
	dst = appendTimestamp(dst, c.Time.Seconds())
	dst = append(dst, `,"state":`...)
	dst = delta.AppendJSON(dst)
	dst = append(dst, `,"metadata":`...)
	dst = delta.AppendMetadata(dst)
	return append(c.Request.appendToken(dst), '}')
}

// AppendDocuments appends the update/documents document. It appends nothing for a
// delete, after which there are none.
func (c *Change) AppendDocuments(dst []byte) []byte {
	if c.Kind != EventUpdated {
		return dst
	}
	dst = append(dst, `{"previous":`...)
	if c.Previous == nil {
		dst = append(dst, "null"...)
	} else {
		dst = c.Previous.appendDocument(dst)
	}
	dst = append(dst, `,"current":`...)
	dst = c.Current.appendDocument(dst)
	dst = appendTimestamp(dst, c.Time.Seconds())
	return append(c.Request.appendToken(dst), '}')
}

func (s *Shadow) appendDocument(dst []byte) []byte {
	dst = append(dst, `{"state":{`...)
	dst = s.appendSections(dst, nil, (*Node).AppendJSON)
	dst = append(dst, `},"metadata":{`...)
	dst = s.appendSections(dst, nil, (*Node).AppendMetadata)
	dst = append(dst, "},"...)
	return append(appendVersion(dst, s.Version), '}')
}

// AppendGet appends the get/accepted document of a shadow that exists. req may be
// nil. now is the time of the answer, not of the last update.
func AppendGet(dst []byte, s *Shadow, now Time, req *Request) []byte {
	dst = append(dst, `{"state":{`...)
	dst = s.appendSections(dst, s.Delta(), (*Node).AppendJSON)
	dst = append(dst, `},"metadata":{`...)
	dst = s.appendSections(dst, nil, (*Node).AppendMetadata) // row 2: none of the delta
	dst = append(dst, "},"...)
	dst = appendVersion(dst, s.Version)
	dst = appendTimestamp(dst, now.Seconds())
	return append(req.appendToken(dst), '}')
}

// appendSections appends the members desired, reported and delta, those that are
// there.
func (s *Shadow) appendSections(dst []byte, delta *Node, render func(*Node, []byte) []byte) []byte {
	first := true
	member := func(name string, n *Node) {
		if n == nil {
			return
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, name...)
		dst = append(dst, ':')
		dst = render(n, dst)
	}
	member(keyDesired, s.Desired)
	member(keyReported, s.Reported)
	member(`"delta"`, delta)
	return dst
}

func appendVersion(dst []byte, v Version) []byte {
	return strconv.AppendUint(append(dst, `"version":`...), uint64(v), 10)
}

func appendTimestamp(dst []byte, seconds int64) []byte {
	return strconv.AppendInt(append(dst, `,"timestamp":`...), seconds, 10)
}

// appendToken appends the clientToken as the last member, if one was sent.
func (r *Request) appendToken(dst []byte) []byte {
	if r == nil || !r.HasToken {
		return dst
	}
	dst = append(dst, `,"clientToken":`...)
	// The error is for invalid UTF-8, which is replaced then.
	dst, _ = jsontext.AppendQuote(dst, r.ClientToken)
	return dst
}
