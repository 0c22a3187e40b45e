package program

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// run follows one command with its arguments; stream is where its output goes.
func (r *reader) run(argv []string, stream int32) {
	args := argv[1:]
	switch path.Base(argv[0]) {
	case "true", ":", "export", "umask", "cd":
		r.code = 0
	case "false":
		r.code = 1
	case "sleep":
		r.sleep(args)
	case "tail":
		if slices.Contains(args, "/dev/null") && slices.ContainsFunc(args, func(a string) bool { return a == "-f" || a == "-F" || a == "--follow" }) {
			r.forever = true
			return
		}
		r.lost = true
	case "cat":
		r.cat(args)
	case "echo":
		r.echo(args, stream)
	case "exit":
		r.exit(args)
	case "exec":
		if len(args) == 0 {
			r.lost = true
			return
		}
		r.run(args, stream)
		r.ended = true
	case "set":
		r.set(args)
	case "trap":
		r.trap(args)
	case "wait":
		r.wait(args)
	default:
		if text, isShell := shellText(argv); isShell && text != "" {
			r.subshell(text)
			return
		}
		r.lost = true
	}
}

func (r *reader) subshell(text string) {
	side := &reader{now: r.now, vars: map[string]string{}, stdin: r.stdin, steps: r.steps,
		messageFile: r.messageFile, message: r.message}
	for k, v := range r.vars {
		side.vars[k] = v
	}
	side.script(text)
	r.now, r.code, r.steps, r.message = side.now, side.code, side.steps, side.message
	r.forever, r.lost, r.loops = side.forever, side.lost, side.loops
	r.output = append(r.output, side.output...)
}

// sleep adds its arguments up, as GNU's does; infinity never ends.
func (r *reader) sleep(args []string) {
	total := time.Duration(0)
	if len(args) == 0 {
		r.code = 1
		return
	}
	for _, a := range args {
		d, ok := sleepTime(a)
		if !ok {
			r.code = 1
			return
		}
		if total = total + d; d >= sleepMax || total >= sleepMax {
			r.forever = true
			return
		}
	}
	if r.now += total; r.now >= sleepMax {
		r.forever = true
	}
	r.code = 0
}

func sleepTime(text string) (time.Duration, bool) {
	if text == "infinity" || text == "inf" {
		return sleepMax, true
	}
	unit := time.Second
	if n := len(text); n > 0 {
		switch text[n-1] {
		case 's':
			text = text[:n-1]
		case 'm':
			text, unit = text[:n-1], time.Minute
		case 'h':
			text, unit = text[:n-1], time.Hour
		case 'd':
			text, unit = text[:n-1], 24*time.Hour
		}
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v < 0 || math.IsNaN(v) {
		return 0, false
	}
	if v*float64(unit) >= float64(sleepMax) {
		return sleepMax, true
	}
	return time.Duration(v * float64(unit)), true
}

// cat copies standard input: nothing when it is closed, and waits for ever when it is open.
func (r *reader) cat(args []string) {
	switch {
	case len(args) > 0 && !(len(args) == 1 && args[0] == "-"):
		r.lost = true
	case r.stdin:
		r.forever = true
	default:
		r.code = 0
	}
}

func (r *reader) echo(args []string, stream int32) {
	newline, escapes := true, false
	for len(args) > 0 && len(args[0]) > 1 && args[0][0] == '-' && strings.Trim(args[0][1:], "neE") == "" {
		newline = newline && !strings.Contains(args[0], "n")
		escapes = escapes || strings.Contains(args[0], "e")
		args = args[1:]
	}
	text := strings.Join(args, " ")
	if escapes {
		text = strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`).Replace(text)
	}
	r.code = 0
	if newline {
		text += "\n"
	}
	switch stream {
	case toFile:
		return
	case toMessage:
		r.message = (r.message + text)[max(len(r.message)+len(text)-messageMax, 0):]
		return
	}
	r.partial += text
	for {
		line, rest, ok := strings.Cut(r.partial, "\n")
		if !ok {
			return
		}
		r.write(line, stream == toStderr)
		r.partial = rest
	}
}

func (r *reader) write(line string, stderr bool) {
	if len(r.output) < linesMax {
		r.output = append(r.output, Line{At: r.now, Text: line, Stderr: stderr})
	}
}

func (r *reader) flush() {
	if r.partial != "" {
		r.write(r.partial, false)
		r.partial = ""
	}
}

func (r *reader) exit(args []string) {
	r.ended = true
	if len(args) == 0 {
		return
	}
	n, err := strconv.Atoi(args[0])
	if err != nil {
		r.code = 2
		return
	}
	r.code = int32(n & 0xff)
}

func (r *reader) set(args []string) {
	for _, a := range args {
		if len(a) > 1 && (a[0] == '-' || a[0] == '+') && strings.Contains(a, "e") {
			r.errexit = a[0] == '-'
		}
	}
	r.code = 0
}

// trap takes up what the script does on TERM, when that is to exit or to ignore it.
func (r *reader) trap(args []string) {
	r.code = 0
	if len(args) < 2 || !slices.ContainsFunc(args[1:], func(s string) bool {
		return s == "TERM" || s == "SIGTERM" || s == "15" || s == "EXIT" || s == "0"
	}) {
		return
	}
	fields := strings.Fields(strings.ReplaceAll(args[0], ";", " ; "))
	if i := slices.Index(fields, "exit"); i >= 0 {
		r.trapped = true
		if i+1 < len(fields) {
			if n, err := strconv.Atoi(fields[i+1]); err == nil {
				r.trapCode = int32(n & 0xff)
			}
		}
	}
}

// wait waits for the background commands.
func (r *reader) wait(args []string) {
	if len(args) > 0 {
		r.lost = true
		return
	}
	for _, end := range r.background {
		if end < 0 {
			r.forever = true
			return
		}
		r.now = max(r.now, end)
	}
	r.background, r.code = nil, 0
}
