package cli

import "testing"

func TestMemoryIsGivenBackOnlyByAClusterThatRests(t *testing.T) {
	t.Parallel()
	const mb = 1 << 20
	for _, c := range []struct {
		what        string
		before, now heapUse
		want        bool
	}{
		{"much garbage, at rest", heapUse{allocated: 900 * mb}, heapUse{allocated: 910 * mb, live: 100 * mb, held: 300 * mb}, true},
		{"much garbage, at work", heapUse{allocated: 100 * mb}, heapUse{allocated: 900 * mb, live: 100 * mb, held: 300 * mb}, false},
		{"little garbage, at rest", heapUse{allocated: 900 * mb}, heapUse{allocated: 910 * mb, live: 100 * mb, held: 140 * mb}, false},
	} {
		if got := c.now.resting(c.before); got != c.want {
			t.Errorf("%s: %v", c.what, got)
		}
	}
}

func TestTheHeapIsRead(t *testing.T) {
	t.Parallel()
	if u := readHeapUse(); u.allocated == 0 || u.held == 0 {
		t.Errorf("%+v", u)
	}
}
