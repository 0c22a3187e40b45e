package cli

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/fairway-dev/fairway/internal/kube/catalog"
	"github.com/fairway-dev/fairway/internal/kube/virtual"
)

// nodeSyntax is what --nodes takes, for help and errors.
const nodeSyntax = "N, or name=web,count=5,type=m5.large,zones=a|b|c,capacity=spot, or a file of NodeGroups"

// nodesMax bounds one group: beyond it a laptop is not what is wanted.
const nodesMax = 15000

var nodeKeys = []string{"name", "count", "type", "zones", "capacity", "price"}

// nodeGroups reads the --nodes values.
func nodeGroups(values []string) ([]virtual.NodeGroup, error) {
	var out []virtual.NodeGroup
	for _, v := range values {
		groups, err := oneNodesValue(v)
		if err != nil {
			return nil, usage(err)
		}
		out = append(out, groups...)
	}
	seen := map[string]bool{}
	for _, g := range out {
		if seen[g.Name] {
			return nil, usage(fmt.Errorf("--nodes: the group %q is given twice; give each its own name=", g.Name))
		}
		seen[g.Name] = true
	}
	return out, nil
}

func oneNodesValue(v string) ([]virtual.NodeGroup, error) {
	if n, err := strconv.Atoi(v); err == nil {
		g := virtual.NodeGroup{Name: "node", Size: n}
		return []virtual.NodeGroup{g}, checkGroup(fmt.Sprintf("--nodes %s", v), &g)
	}
	if strings.Contains(v, "=") {
		g, err := inlineGroup(v)
		return []virtual.NodeGroup{g}, err
	}
	b, err := os.ReadFile(v)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("--nodes %q is neither a number nor a file; write %s", v, nodeSyntax)
	}
	if err != nil {
		return nil, fmt.Errorf("--nodes: %w", err)
	}
	return readNodeGroups(v, b)
}

// inlineGroup reads name=web,count=5,….
func inlineGroup(v string) (virtual.NodeGroup, error) {
	g := virtual.NodeGroup{Name: "node", Size: 1}
	where := fmt.Sprintf("--nodes %q", v)
	for part := range strings.SplitSeq(v, ",") {
		key, value, ok := strings.Cut(strings.TrimSpace(part), "=")
		if !ok || value == "" {
			return g, fmt.Errorf("%s: %q has no value; write %s", where, part, nodeSyntax)
		}
		var err error
		switch key {
		case "name":
			g.Name = value
		case "count":
			if g.Size, err = strconv.Atoi(value); err != nil {
				return g, fmt.Errorf("%s: count=%s is not a whole number", where, value)
			}
		case "type":
			g.InstanceType = value
		case "zones":
			g.Zones = strings.Split(value, "|")
		case "capacity":
			g.CapacityType = value
		case "price":
			if g.PricePerHour, err = strconv.ParseFloat(value, 64); err != nil || g.PricePerHour < 0 {
				return g, fmt.Errorf("%s: price=%s is not an amount of US dollars an hour", where, value)
			}
		default:
			return g, fmt.Errorf("%s: %q is not known; there are %s", where, key, strings.Join(nodeKeys, ", "))
		}
	}
	return g, checkGroup(where, &g)
}

var capacityTypes = []string{"on-demand", "spot", "reserved"}

// checkGroup refuses what no node could be made of.
func checkGroup(where string, g *virtual.NodeGroup) error {
	switch {
	case !clusterName.MatchString(g.Name):
		return fmt.Errorf("%s: name %q: use up to 63 lower-case letters, digits and dashes", where, g.Name)
	case g.Size < 0 || g.Size > nodesMax:
		return fmt.Errorf("%s: %d nodes; a group has 0 to %d", where, g.Size, nodesMax)
	case g.CapacityType != "" && !slices.Contains(capacityTypes, g.CapacityType):
		return fmt.Errorf("%s: capacity %q is not known; use %s", where, g.CapacityType, strings.Join(capacityTypes, ", "))
	}
	if g.InstanceType == "" {
		return nil
	}
	if _, ok := catalog.Lookup(g.InstanceType); !ok && len(g.Capacity) == 0 {
		return fmt.Errorf("%s: instance type %q is not in the catalog (%d types); did you mean %s?", where, g.InstanceType,
			len(catalog.All()), strings.Join(catalog.Nearest(g.InstanceType), ", "))
	}
	return nil
}
