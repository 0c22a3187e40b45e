package rolloutview

import (
	"cmp"
	"slices"
)

// tagExperiment begins the tag of an image that runs in an experiment; the name of the template follows.
const tagExperiment = "Σ:"

// Image is one that runs, with the parts its pods play.
type Image struct {
	Name string
	Tags []string
}

// images that run, by name.
func images(sets []ReplicaSet, experiments []Experiment) []Image {
	var out []Image
	for _, rs := range sets {
		if rs.Replicas == 0 {
			continue
		}
		for _, image := range rs.Images {
			out = merge(out, image, rs.Tags)
		}
	}
	for _, e := range experiments {
		out = experimentImages(out, e.ReplicaSets)
	}
	return out
}

func experimentImages(out []Image, sets []ReplicaSet) []Image {
	for _, rs := range sets {
		if rs.Replicas == 0 {
			continue
		}
		var tags []string
		if rs.Template != "" {
			tags = []string{tagExperiment + rs.Template}
		}
		for _, image := range rs.Images {
			out = merge(out, image, tags)
		}
	}
	return out
}

// merge adds an image, or the tags to it where it is there already.
func merge(out []Image, name string, tags []string) []Image {
	if i := slices.IndexFunc(out, func(in Image) bool { return in.Name == name }); i >= 0 {
		out[i].Tags = append(slices.Clone(out[i].Tags), tags...)
		slices.Sort(out[i].Tags)
		out[i].Tags = slices.Compact(out[i].Tags)
		return out
	}
	out = append(out, Image{name, tags})
	slices.SortFunc(out, func(a, b Image) int { return cmp.Compare(a.Name, b.Name) })
	return out
}
