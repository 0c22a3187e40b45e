package spelling

import "testing"

func TestTheNearestNameIsSuggestedElseTheKnownOnes(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ text, want string }{
		{"frontent", "did you mean frontend?"},
		{"crat", "did you mean cart?"}, // neighbours swapped are one slip
		{"payments", "known are cart, frontend"},
	} {
		if got := Suggest(c.text, []string{"frontend", "cart"}); got != c.want {
			t.Errorf("%s: %q, want %q", c.text, got, c.want)
		}
	}
	if got := Suggest("a", nil); got != "there are none" {
		t.Errorf("without names: %q", got)
	}
}
