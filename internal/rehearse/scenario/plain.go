package scenario

import (
	"encoding/json"
	"strconv"

	"go.yaml.in/yaml/v3"
)

// plain turns a node into what encoding/json writes, reading scalars as Kubernetes' YAML does: a date stays a text.
func (d *decoder) plain(n *yaml.Node, depth int) (any, bool) {
	for n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	if d.nodes++; d.nodes > nodesMax || depth > depthMax {
		d.fail(n, "split it up", "the object is nested too deep or too large")
		return nil, false
	}
	switch n.Kind {
	case yaml.MappingNode:
		object := map[string]any{}
		for _, p := range d.pairs(n) {
			value, ok := d.plain(p.value, depth+1)
			if !ok {
				return nil, false
			}
			object[p.key.Value] = value
		}
		return object, true
	case yaml.SequenceNode:
		list := make([]any, 0, len(n.Content))
		for _, item := range n.Content {
			value, ok := d.plain(item, depth+1)
			if !ok {
				return nil, false
			}
			list = append(list, value)
		}
		return list, true
	}
	return plainScalar(n), true
}

func plainScalar(n *yaml.Node) any {
	switch n.Tag {
	case "!!null":
		return nil
	case "!!bool":
		var b bool
		if n.Decode(&b) == nil {
			return b
		}
	case "!!int":
		var i int64
		if n.Decode(&i) == nil {
			return json.Number(strconv.FormatInt(i, 10))
		}
	case "!!float":
		var f float64
		if n.Decode(&f) == nil && json.Valid([]byte(strconv.FormatFloat(f, 'g', -1, 64))) {
			return f
		}
	}
	return n.Value
}
