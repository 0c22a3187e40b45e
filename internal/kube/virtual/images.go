package virtual

import (
	"strings"
)

// ImageModel is what images weigh and how they travel.
type ImageModel struct{}

// imageID names an image as a runtime does after resolving it: repository and digest.
func imageID(image string) string {
	if strings.Contains(image, "@sha256:") {
		return image
	}
	name := image
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		name = image[:i]
	}
	return name + "@sha256:" + hexID(0, 64, "image", image)
}
