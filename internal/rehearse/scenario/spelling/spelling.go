// Package spelling finds the name somebody most likely meant, for the hints of error messages.
package spelling

import (
	"fmt"
	"sort"
	"strings"
)

// Nearest finds the name a writer most likely meant: the least edit distance (Levenshtein 1965, with Damerau's swap of
// neighbours as one edit), at most one for every three letters. It is empty when nothing is near.
func Nearest(text string, names []string) string {
	best, distance := "", len(text)/3+1
	for _, name := range names {
		if d := editDistance(strings.ToLower(text), strings.ToLower(name)); d < distance {
			best, distance = name, d
		}
	}
	return best
}

func editDistance(a, b string) int {
	two, one := make([]int, len(b)+1), make([]int, len(b)+1) // the rows before
	for j := range one {
		one[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row := make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			replace := one[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			row[j] = min(row[j-1]+1, one[j]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], two[j-2]+1)
			}
		}
		two, one = one, row
	}
	return one[len(b)]
}

// listedMax bounds the names a hint lists.
const listedMax = 24

// Suggest is the hint for a name that is not one of those known.
func Suggest(text string, names []string) string {
	sorted := append([]string(nil), names...)
	sort.Strings(sorted)
	if near := Nearest(text, sorted); near != "" {
		return fmt.Sprintf("did you mean %s?", near)
	}
	switch {
	case len(sorted) == 0:
		return "there are none"
	case len(sorted) > listedMax:
		return fmt.Sprintf("known are %s and %d more", strings.Join(sorted[:listedMax], ", "), len(sorted)-listedMax)
	}
	return "known are " + strings.Join(sorted, ", ")
}
