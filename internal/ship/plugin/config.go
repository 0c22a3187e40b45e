// Package plugin runs the external plugins that teams of Argo Rollouts have: metric providers, traffic routers and steps, each
// a program of its own that speaks net/rpc over hashicorp/go-plugin with the peer's wire types. In: the config map
// argo-rollouts-config. Until it names a plugin nothing is fetched and nothing runs. Processes belong to a Host: started when
// first needed, started anew when they end, and ended with it.
package plugin

import (
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"regexp"
	"slices"

	"github.com/argoproj/argo-rollouts/utils/plugin/types"
	"sigs.k8s.io/yaml"
)

// ConfigMapName is the config map, in the controller's namespace, that names the plugins.
const ConfigMapName = "argo-rollouts-config"

// pluginsMax bounds how many plugins one config map may name: each is a process.
const pluginsMax = 64

// Kind is what a plugin is for.
type Kind string

// Kinds, by the key of the config map that lists plugins of the kind.
const (
	MetricProvider Kind = "metricProviderPlugins"
	TrafficRouter  Kind = "trafficRouterPlugins"
	Step           Kind = "stepPlugins"
)

// kinds in the order in which they are read.
var kinds = []Kind{MetricProvider, TrafficRouter, Step}

// names of plugins are as those of repositories: OWNER/NAME. The peer has the same rule.
var names = regexp.MustCompile(`^[a-zA-Z0-9-]+/[a-zA-Z0-9_.-]+$`)

// Item is one plugin as the config map names it: name, location (file:// or http(s)://), sha256, disabled, args, headersFrom.
type Item = types.PluginItem

// Config is what the config map says. The zero value names no plugins.
type Config struct{ items map[Kind]map[string]Item }

// ParseConfig reads the data of the config map. All that is wrong is in one error; what is right can be used all the same.
func ParseConfig(data map[string]string) (Config, error) {
	c := Config{items: map[Kind]map[string]Item{}}
	var wrong []error
	count := 0
	for _, kind := range kinds {
		var items []Item
		if err := yaml.Unmarshal([]byte(data[string(kind)]), &items); err != nil {
			wrong = append(wrong, fmt.Errorf("config map %s: %s is not a list of plugins: %w", ConfigMapName, kind, err))
			continue
		}
		for i, item := range items {
			if err := checkItem(item); err != nil {
				wrong = append(wrong, fmt.Errorf("config map %s: %s[%d]: %w", ConfigMapName, kind, i, err))
				continue
			}
			if _, twice := c.items[kind][item.Name]; twice {
				wrong = append(wrong, fmt.Errorf("config map %s: %s[%d]: %q is named twice; remove one", ConfigMapName, kind, i, item.Name))
				continue
			}
			if count++; count > pluginsMax {
				return c, errors.Join(append(wrong, fmt.Errorf("config map %s names more than %d plugins; remove some", ConfigMapName, pluginsMax))...)
			}
			if c.items[kind] == nil {
				c.items[kind] = map[string]Item{}
			}
			c.items[kind][item.Name] = item
		}
	}
	return c, errors.Join(wrong...)
}

func checkItem(item Item) error {
	if !names.MatchString(item.Name) {
		return fmt.Errorf("plugin repository (%s) must be in the format of <namespace>/<name>; correct name", item.Name)
	}
	if item.Disabled && item.Location == "" {
		return nil
	}
	location, err := url.ParseRequestURI(item.Location)
	if err != nil {
		return fmt.Errorf("plugin %s: location %q is not a URL; write file:// or https:// before the path", item.Name, item.Location)
	}
	switch location.Scheme {
	case "file", "http", "https":
	default:
		return fmt.Errorf("plugin %s: location %q: plugin location must be of http(s) or file scheme", item.Name, item.Location)
	}
	if item.Sha256 != "" {
		if sum, err := hex.DecodeString(item.Sha256); err != nil || len(sum) != 32 {
			return fmt.Errorf("plugin %s: sha256 %q is not 64 hexadecimal digits; write the output of sha256sum", item.Name, item.Sha256)
		}
	}
	return nil
}

// Find returns a plugin by its name.
func (c Config) Find(kind Kind, name string) (Item, bool) {
	item, ok := c.items[kind][name]
	return item, ok
}

// Disabled tells whether a step plugin is switched off: steps that use it count as done.
func (c Config) Disabled(name string) bool { return c.items[Step][name].Disabled }

// Names of the plugins of a kind, sorted.
func (c Config) Names(kind Kind) []string { return slices.Sorted(maps.Keys(c.items[kind])) }

// Empty tells whether no plugin is named.
func (c Config) Empty() bool {
	for _, items := range c.items {
		if len(items) > 0 {
			return false
		}
	}
	return true
}
