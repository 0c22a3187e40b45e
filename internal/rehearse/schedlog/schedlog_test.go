package schedlog

import (
	"fmt"
	"strings"
	"testing"
)

func lines(n int, other int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		who := i % 3
		if i == other {
			who = 9
		}
		fmt.Fprintf(&b, "%d main.work%d %d 7 %d\n", who, who, int64(i)*1e9*60, i)
	}
	return b.String()
}

func TestCompareFindsTheFirstDecisionThatDiffers(t *testing.T) {
	t.Parallel()
	d, err := Compare(strings.NewReader(lines(100, 0)), strings.NewReader(lines(100, 41)))
	if err != nil || d == nil {
		t.Fatalf("difference %v, error %v", d, err)
	}
	if d.Decision != 41 || len(d.Before) != contextLines || !strings.Contains(d.A, "main.work2") || !strings.Contains(d.B, "main.work9") {
		t.Errorf("got %+v", d)
	}
	if text := d.String(); !strings.Contains(text, "A 1970-01-01 00:41:00") || !strings.Contains(text, "B ") {
		t.Errorf("it reads:\n%s", text)
	}
}

func TestCompareOfEqualLogsFindsNothingAndOfAShorterOneItsEnd(t *testing.T) {
	t.Parallel()
	if d, err := Compare(strings.NewReader(lines(50, 0)), strings.NewReader(lines(50, 0))); d != nil || err != nil {
		t.Errorf("equal logs: %v, %v", d, err)
	}
	d, err := Compare(strings.NewReader(lines(50, 0)), strings.NewReader(lines(49, 0)))
	if err != nil || d == nil || d.Decision != 50 || d.B != "" || !strings.Contains(d.String(), "B ends") {
		t.Errorf("a shorter log: %v, %v", d, err)
	}
}

func TestCountAddsUpByStartFunctionAndVirtualHour(t *testing.T) {
	t.Parallel()
	got, err := Count(strings.NewReader(lines(61, 0) + Truncated + "\n"))
	if err != nil || len(got) != 3 {
		t.Fatalf("%v, %v", got, err)
	}
	if got[0].Function != "main.work1" || got[0].Runs != 21 || got[0].PerHour < 20.9 || got[0].PerHour > 21.1 {
		t.Errorf("the most frequent is %+v, want work1 21 times in an hour", got[0])
	}
	if _, err := Count(strings.NewReader("what is this\n")); err == nil {
		t.Error("a file that is no log was counted")
	}
}
