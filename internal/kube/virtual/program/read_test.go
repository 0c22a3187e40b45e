package program

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestReadFollowsTheCommonForms(t *testing.T) {
	t.Parallel()
	const unread = "unread"
	for _, c := range []struct {
		argv []string
		want string // how it ends: "forever", "CODE after TIME", or unread; then its output
	}{
		{[]string{"sleep", "3600"}, "0 after 1h0m0s"},
		{[]string{"/bin/sleep", "1.5", "2m"}, "0 after 2m1.5s"},
		{[]string{"sleep", "infinity"}, "forever"},
		{[]string{"sleep", "9e99"}, "forever"},
		{[]string{"sleep", "soon"}, "1 after 0s"},
		{[]string{"tail", "-f", "/dev/null"}, "forever"},
		{[]string{"tail", "-n0", "-F", "/dev/null"}, "forever"},
		{[]string{"tail", "-f", "/var/log/x"}, unread},
		{[]string{"true"}, "0 after 0s"},
		{[]string{"false"}, "1 after 0s"},
		{[]string{"cat"}, "0 after 0s"},
		{[]string{"echo", "hello", "world"}, "0 after 0s: hello world"},
		{[]string{"sh"}, "0 after 0s"},
		{[]string{"/bin/sh", "-c", "echo a; sleep 5; echo b >&2"}, "0 after 5s: a|5s!b"},
		{[]string{"sh", "-ec", "false\necho never"}, "1 after 0s"},
		{[]string{"sh", "-c", "false; echo on"}, "0 after 0s: on"},
		{[]string{"sh", "-c", "-x", "sleep 2 && exit 1"}, "1 after 2s"},
		{[]string{"bash", "-ec", "-o", "pipefail", "--", "sleep 2; exit 3"}, "3 after 2s"},
		{[]string{"sh", "-c", "set -euo pipefail; sleep 1 && false; echo x"}, "1 after 1s"},
		{[]string{"sh", "-c", "true || echo no; false || echo yes"}, "0 after 0s: yes"},
		{[]string{"sh", "-c", "false && echo no; exit 3"}, "3 after 0s"},
		{[]string{"sh", "-c", "exit 300"}, "44 after 0s"},
		{[]string{"sh", "-c", "exit"}, "0 after 0s"},
		{[]string{"bash", "-c", "while true; do date; sleep 1; done"}, "forever"},
		{[]string{"sh", "-c", "i=0; while :; do echo \"$i: $(date)\"; i=$((i+1)); sleep 1; done"}, "forever"},
		{[]string{"sh", "-c", "echo up; for ((;;)); do sleep 1; done"}, "forever: up"},
		{[]string{"sh", "-c", "until false; do sleep 1; done"}, "forever"},
		{[]string{"sh", "-c", "while [ 1 ]\ndo\n  sleep 1\ndone"}, "forever"},
		{[]string{"sh", "-c", "while true; do test -f /x && break; sleep 1; done"}, unread},
		{[]string{"sh", "-c", "for i in 1 2 3; do echo $i; done"}, unread},
		{[]string{"sh", "-c", "if true; then sleep 1; fi"}, unread},
		{[]string{"sh", "-c", "wget -q http://x && sleep 5"}, unread},
		{[]string{"sh", "-c", "echo $GREETING ${NAME}"}, "0 after 0s: hi pod"},
		{[]string{"sh", "-c", "N=4; sleep $N; echo 'done $N'"}, "0 after 4s: 4s:done $N"},
		{[]string{"sh", "-c", "echo $UNSET"}, unread},
		{[]string{"sh", "-c", "echo $(date)"}, unread},
		{[]string{"sh", "-c", "echo a > /dev/termination-log; echo b # c"}, "0 after 0s: b"},
		{[]string{"sh", "-c", "echo -n a; echo -e 'b\\nc'"}, "0 after 0s: ab|c"},
		{[]string{"sh", "-c", "trap 'exit 7' TERM; sleep infinity & wait"}, "forever"},
		{[]string{"sh", "-c", "sleep 3 & sleep 1; wait; exit 2"}, "2 after 3s"},
		{[]string{"sh", "-c", "exec sleep 10"}, "0 after 10s"},
		{[]string{"sh", "-c", "sh -c 'sleep 2; exit 4'; exit $?"}, unread},
		{[]string{"sh", "-c", "sh -c 'sleep 2; exit 4'"}, "4 after 2s"},
		{[]string{"sh", "-c", "echo a | cat"}, unread},
		{[]string{"sh", "-c", "echo 'unclosed"}, unread},
		{[]string{"sh", "-c", "cat <<EOF\nx\nEOF"}, unread},
		{[]string{"sh", "-c", "echo /etc/*"}, unread},
		{[]string{"sh", "/scripts/run.sh"}, unread},
		{[]string{"java", "-jar", "app.jar"}, unread},
		{nil, unread},
	} {
		s := Read(c.argv, Setting{Env: map[string]string{"GREETING": "hi", "NAME": "pod"}})
		got := unread
		if s.Known {
			got = "forever"
			if s.Ends {
				got = fmt.Sprintf("%d after %v", s.Code, s.After)
			}
			var lines []string
			for _, l := range s.Output {
				mark := ""
				if l.At > 0 {
					mark = l.At.String() + ":"
				}
				if l.Stderr {
					mark = l.At.String() + "!"
				}
				lines = append(lines, mark+l.Text)
			}
			if lines != nil {
				got += ": " + strings.Join(lines, "|")
			}
		}
		if got != c.want {
			t.Errorf("%q: %s; want %s", c.argv, got, c.want)
		}
	}
	if s := Read([]string{"cat"}, Setting{Stdin: true}); !s.Known || s.Ends {
		t.Error("cat with an open standard input ends")
	}
	if s := Read([]string{"sh", "-c", "trap 'echo bye; exit 7' TERM INT; sleep infinity & wait"}, Setting{}); !s.Traps || s.OnTerm != 7 {
		t.Errorf("the trap was not seen: %+v", s)
	}
}

func FuzzReadEndsAndIsRepeatable(f *testing.F) {
	for _, s := range []string{"echo a; sleep 1", "while true; do :; done", "for ((;;)) do x; done", "a=$((1+(2)))", "echo \"$(a \"b\")\"",
		"`", "${", "$", "((", "sleep 1e308", "x=1 y=$x echo $y", "& & ;;", "2>&1 >x", "trap '' TERM", "exec"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		a := Read([]string{"sh", "-c", text}, Setting{Env: map[string]string{"A": "b"}})
		b := Read([]string{"sh", "-c", text}, Setting{Env: map[string]string{"A": "b"}})
		if fmt.Sprint(a) != fmt.Sprint(b) {
			t.Fatalf("%q is read in two ways", text)
		}
		if a.Known && (a.After < 0 || a.After > sleepMax || a.Code < 0 || a.Code > 255) {
			t.Fatalf("%q ends with %d after %v", text, a.Code, a.After)
		}
		last := time.Duration(0)
		for _, l := range a.Output {
			if l.At < last || a.Ends && a.Known && l.At > a.After {
				t.Fatalf("%q writes out of order: %v", text, a.Output)
			}
			last = l.At
		}
	})
}

// A sequence of sleeps and echoes takes the sum of the sleeps and writes each line at the sum so far.
func TestSequencesAddUp(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var text []string
		var want []Line
		now := time.Duration(0)
		for i := range rapid.IntRange(1, 20).Draw(t, "commands") {
			if rapid.Bool().Draw(t, "sleep") {
				n := rapid.IntRange(0, 1000).Draw(t, "seconds")
				text = append(text, fmt.Sprintf("sleep %d", n))
				now += time.Duration(n) * time.Second
				continue
			}
			text = append(text, fmt.Sprintf("echo line-%d", i))
			want = append(want, Line{At: now, Text: fmt.Sprintf("line-%d", i)})
		}
		separator := rapid.SampledFrom([]string{"; ", " && ", "\n"}).Draw(t, "separator")
		got := Read([]string{"sh", "-c", strings.Join(text, separator)}, Setting{})
		if !got.Known || !got.Ends || got.Code != 0 || got.After != now || fmt.Sprint(got.Output) != fmt.Sprint(want) {
			t.Fatalf("%+v; want the end after %v with %v", got, now, want)
		}
	})
}

func TestGlobMatchesWholeText(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		glob, image string
		want        bool
	}{
		{"nginx", "docker.io/library/nginx:1.27@sha256:abc", true},
		{"nginx:1.*", "nginx:1.27", true},
		{"nginx:1.*", "nginx:2.0", false},
		{"*/agnhost", "registry.k8s.io/e2e-test-images/agnhost:2.53", true},
		{"nginx", "example.com/team/nginx:1", false},
		{"*/nginx", "example.com/team/nginx:1", true},
		{"localhost:5000/*", "localhost:5000/app:v1", true},
		{"team/app:v?", "ghcr.io/team/app:v1", true},
		{"**", "x", true},
		{"", "x", false},
	} {
		if got := matchesImage(c.glob, c.image); got != c.want {
			t.Errorf("%q on %q: %v", c.glob, c.image, got)
		}
	}
}
