package program

import "strings"

// forms returns the ways in which a glob may name an image reference: whole, without its registry, and each without
// its tag and digest. "docker.io/library/nginx:1.27" has the forms itself, "nginx:1.27" and so on.
func forms(image string) []string {
	plain := withoutRegistry(image)
	out := []string{image}
	for _, f := range []string{withoutTag(image), plain, withoutTag(plain)} {
		if out[len(out)-1] != f {
			out = append(out, f)
		}
	}
	return out
}

// withoutRegistry drops the host of an image reference and the "library/" that Docker Hub implies. The first component
// is a host if it has a dot or a colon or is localhost.
func withoutRegistry(image string) string {
	if host, rest, ok := strings.Cut(image, "/"); ok && (strings.ContainsAny(host, ".:") || host == "localhost") {
		image = rest
	}
	return strings.TrimPrefix(image, "library/")
}

// withoutTag drops digest and tag.
func withoutTag(image string) string {
	image, _, _ = strings.Cut(image, "@")
	if i := strings.LastIndexByte(image, ':'); i > strings.LastIndexByte(image, '/') {
		return image[:i]
	}
	return image
}

// matchesImage reports whether a glob names the image in one of its forms.
func matchesImage(glob, image string) bool {
	for _, f := range forms(image) {
		if Glob(glob, f) {
			return true
		}
	}
	return false
}

// Glob reports whether the pattern matches the whole text; * stands for any run of characters, ? for any one.
func Glob(pattern, text string) bool {
	star, mark, p := -1, 0, 0
	for t := 0; t < len(text); {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, t
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0:
			mark++
			p, t = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}
