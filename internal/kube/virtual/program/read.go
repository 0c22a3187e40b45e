package program

import (
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Script is what reading a command told: what it writes and whether and when it ends. Only the common forms are read
// (sleep, tail -f /dev/null, true, false, exit, cat, echo, and shell text of those joined by ; && || & and newlines, up
// to an endless loop); the rest is not Known.
type Script struct {
	Known  bool
	Ends   bool
	After  time.Duration // from the start to the end
	Code   int32         // exit code at the end
	Output []Line        // what it writes, in order of time
	// OnTerm is the exit code of a TERM trap that exits, set with Traps.
	Traps  bool
	OnTerm int32
	// Deaf is a process that, as PID 1, has no handler and so ignores SIGTERM.
	Deaf bool
	// Sleeps tells that shell text which is not Known calls sleep somewhere.
	Sleeps bool
	// Shell tells that the command is a shell with text.
	Shell bool
}

// Line is one line of output.
type Line struct {
	At     time.Duration // after the start of the container
	Text   string        // without the line end
	Stderr bool
}

// stepsMax bounds the commands of one script that are followed.
const stepsMax = 10000

// linesMax bounds the output kept of one script.
const linesMax = 1000

// sleepMax is taken for ever: longer than any cluster lives.
const sleepMax = 100 * 365 * 24 * time.Hour

// Read reads an argument vector. stdin tells whether the container has an open standard input; env gives variables that
// the text may use.
func Read(argv []string, stdin bool, env map[string]string) Script {
	if len(argv) == 0 {
		return Script{}
	}
	r := &reader{vars: map[string]string{}, stdin: stdin}
	for k, v := range env {
		r.vars[k] = v
	}
	text, isShell := shellText(argv)
	out := Script{Shell: isShell}
	if isShell && text == "" && !slices.Contains(argv[1:], "-c") {
		out.Known, out.Ends, out.Deaf = len(argv) == 1 || argv[1][0] == '-', !stdin, true // an interactive shell
		return out
	}
	if isShell {
		out.Sleeps = strings.Contains(text, "sleep")
		r.errexit = slices.ContainsFunc(argv[1:], func(a string) bool {
			return len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.Contains(a, "e")
		})
		r.script(text)
	} else {
		r.run(argv, 1)
	}
	if r.lost {
		return out
	}
	out.Known, out.Ends, out.After, out.Code, out.Output = true, !r.forever, r.now, r.code, r.output
	out.Traps, out.OnTerm = r.trapped, r.trapCode
	out.Deaf = !r.trapped
	return out
}

var shells = []string{"sh", "ash", "bash", "dash"}

// shellText returns the text given to a shell with -c; ok tells whether the command is a shell at all.
func shellText(argv []string) (text string, ok bool) {
	if !slices.Contains(shells, path.Base(argv[0])) {
		return "", false
	}
	for i := 1; i < len(argv); i++ {
		a := argv[i]
		if len(a) > 1 && a[0] == '-' && a[1] != '-' && strings.Contains(a, "c") {
			if i+1 < len(argv) {
				return argv[i+1], true
			}
			return "", true
		}
		if a == "" || a[0] != '-' && a != "pipefail" {
			break
		}
	}
	return "", true
}

// reader follows a script through time.
type reader struct {
	now        time.Duration
	code       int32
	forever    bool // it never gets further
	ended      bool // exit was reached
	lost       bool // something only a shell could tell
	steps      int
	output     []Line
	partial    string // text without its line end yet
	vars       map[string]string
	stdin      bool
	errexit    bool
	trapped    bool
	trapCode   int32
	background []time.Duration // when background commands end; negative = never
}

func (r *reader) stopped() bool { return r.lost || r.ended || r.forever }

// script follows shell text.
func (r *reader) script(text string) {
	words, ok := split(text)
	if !ok {
		r.lost = true
		return
	}
	r.list(words)
	r.flush()
}

// list follows commands joined by operators.
func (r *reader) list(words []word) {
	skip := false // the next command is cut off by && or ||
	for len(words) > 0 && !r.stopped() {
		if r.steps++; r.steps > stepsMax {
			r.lost = true
			return
		}
		if loop, isLoop := r.loop(words); isLoop {
			r.forever = loop && !skip
			r.lost = !r.forever
			return
		}
		end := slices.IndexFunc(words, func(w word) bool { return w.operator && isSeparator(w.text) })
		command, operator := words, ""
		if end >= 0 {
			command, operator, words = words[:end], words[end].text, words[end+1:]
		} else {
			words = nil
		}
		if operator == "|" || operator == "(" || operator == ")" || operator == ";;" {
			r.lost = true
			return
		}
		if len(command) > 0 && !skip {
			r.command(command, operator)
		}
		if r.errexit && r.code != 0 && !skip && operator != "&&" && operator != "||" && len(command) > 0 {
			r.ended = true
		}
		switch operator {
		case "&&":
			skip = r.code != 0
		case "||":
			skip = r.code == 0
		default:
			skip = false
		}
	}
}

func isSeparator(op string) bool {
	switch op {
	case ";", "\n", "&&", "||", "&", "|", "(", ")", ";;":
		return true
	}
	return false
}

// loop recognises an endless loop at the start of words. The first result tells that it never ends, the second that
// there is a compound command at all.
func (r *reader) loop(words []word) (endless, compound bool) {
	first := words[0]
	if first.operator || first.quoted {
		return false, false
	}
	switch first.text {
	case "while", "until", "for":
	case "if", "case", "function", "select", "{", "[[", "!":
		return false, true
	default:
		return false, false
	}
	do := slices.IndexFunc(words, func(w word) bool { return !w.operator && !w.quoted && w.text == "do" })
	if do < 0 {
		return false, true
	}
	var condition []string
	for _, w := range words[1:do] {
		if !w.operator {
			condition = append(condition, w.text)
		}
		if w.dynamic {
			return false, true
		}
	}
	leaves := slices.ContainsFunc(words[do:], func(w word) bool {
		return !w.operator && (w.text == "break" || w.text == "exit" || w.text == "return" || w.text == "exec")
	})
	return !leaves && endlessCondition(first.text, strings.Join(condition, " ")), true
}

func endlessCondition(keyword, condition string) bool {
	switch keyword {
	case "while":
		return slices.Contains([]string{"true", ":", "[ 1 ]", "[ true ]", "[[ 1 ]]", "((1))", "(( 1 ))", "/bin/true", "test 1"}, condition)
	case "until":
		return condition == "false" || condition == "/bin/false"
	}
	return strings.ReplaceAll(condition, " ", "") == "((;;))"
}

// command follows one simple command; operator is what stands behind it.
func (r *reader) command(words []word, operator string) {
	var argv []string
	stream := int32(1)
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w.operator {
			if i+1 >= len(words) {
				r.lost = true
				return
			}
			stream = redirected(w.text, words[i+1].text, stream)
			i++
			continue
		}
		text, ok := r.expand(w)
		if !ok {
			r.lost = true
			return
		}
		if name, value, is := strings.Cut(text, "="); is && len(argv) == 0 && isName(name) {
			r.vars[name] = value
			continue
		}
		argv = append(argv, text)
	}
	if len(argv) == 0 {
		r.code = 0
		return
	}
	if operator != "&" {
		r.run(argv, stream)
		return
	}
	side := &reader{now: r.now, vars: r.vars, stdin: false}
	side.run(argv, stream)
	if side.lost || len(side.output) > 0 {
		r.lost = true
		return
	}
	end := side.now
	if side.forever {
		end = -1
	}
	r.background, r.code = append(r.background, end), 0
}

// redirected returns where standard output goes after a redirection: 1, 2, or 0 for a file.
func redirected(op, target string, stream int32) int32 {
	switch {
	case op == ">&" || op == "1>&":
		if n, err := strconv.Atoi(target); err == nil {
			return int32(n)
		}
	case op == ">" || op == ">>" || op == "1>" || op == "1>>" || op == "&>":
		switch target {
		case "/dev/stdout", "/proc/1/fd/1":
			return 1
		case "/dev/stderr", "/proc/1/fd/2":
			return 2
		}
		return 0
	}
	return stream
}

// expand replaces the variables of a word; it fails when one is unknown or the word needs a shell.
func (r *reader) expand(w word) (string, bool) {
	if w.dynamic {
		return "", false
	}
	if !w.quoted && strings.ContainsAny(w.text, "*?[~") && w.text != "[" && w.text != "?" {
		return "", false // file name expansion
	}
	out := w.text
	for {
		open := strings.IndexByte(out, varOpen)
		if open < 0 {
			return out, true
		}
		end := strings.IndexByte(out, varClose)
		value, known := r.vars[out[open+1:end]]
		if !known || strings.ContainsAny(value, string(varOpen)+string(varClose)) || !w.quoted && strings.ContainsAny(value, " \t\n*?[") {
			return "", false
		}
		out = out[:open] + value + out[end+1:]
	}
}

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
	side := &reader{now: r.now, vars: map[string]string{}, stdin: r.stdin, steps: r.steps}
	for k, v := range r.vars {
		side.vars[k] = v
	}
	side.script(text)
	r.now, r.code, r.steps = side.now, side.code, side.steps
	r.forever, r.lost = side.forever, side.lost
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
	if stream == 0 {
		return
	}
	r.partial += text
	if newline {
		r.partial += "\n"
	}
	for {
		line, rest, ok := strings.Cut(r.partial, "\n")
		if !ok {
			return
		}
		r.write(line, stream == 2)
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
