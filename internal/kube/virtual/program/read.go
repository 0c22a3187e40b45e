package program

import (
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
	// Loops tells of an endless loop, whose commands were not looked at.
	Loops bool
	// Message is what it leaves in the file for its termination message.
	Message string
}

// Setting is what a command finds around it.
type Setting struct {
	Stdin bool              // standard input is open
	Env   map[string]string // variables that shell text may use
	// MessageFile is the container's terminationMessagePath: the one file whose content is followed. "" = none.
	MessageFile string
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

// messageMax bounds the termination message of a container; of a longer file a kubelet takes the end.
const messageMax = 4096

// Read reads an argument vector.
func Read(argv []string, around Setting) Script {
	if len(argv) == 0 {
		return Script{}
	}
	r := &reader{vars: map[string]string{}, stdin: around.Stdin, messageFile: around.MessageFile}
	for k, v := range around.Env {
		r.vars[k] = v
	}
	text, isShell := shellText(argv)
	out := Script{Shell: isShell}
	if isShell && text == "" && !slices.Contains(argv[1:], "-c") {
		out.Known, out.Ends, out.Deaf = len(argv) == 1 || argv[1][0] == '-', !around.Stdin, true // an interactive shell
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
	out.Deaf, out.Loops = !r.trapped, r.loops
	out.Message = strings.ToValidUTF8(r.message[max(len(r.message)-messageMax, 0):], "")
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
			return afterOptions(argv[i+1:]), true
		}
		if a == "" || a[0] != '-' && a != "pipefail" {
			break
		}
	}
	return "", true
}

// afterOptions is the first word that is no option of a shell: as in sh -c -x TEXT.
func afterOptions(words []string) string {
	for i := 0; i < len(words); i++ {
		switch a := words[i]; {
		case a == "-o" || a == "+o":
			i++
		case a == "--":
		case len(a) < 2 || a[0] != '-' && a[0] != '+':
			return a
		}
	}
	return ""
}

// reader follows a script through time.
type reader struct {
	now        time.Duration
	code       int32
	forever    bool // it never gets further
	loops      bool // because of a loop
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

	messageFile string
	message     string // what is in messageFile
}

// Where a command's output goes.
const (
	toFile    int32 = 0 // a file that nobody looks into
	toStdout  int32 = 1
	toStderr  int32 = 2
	toMessage int32 = 3 // the file of the termination message
)

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
			r.lost, r.loops = !r.forever, r.forever
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
	stream := toStdout
	for i := 0; i < len(words); i++ {
		w := words[i]
		if w.operator {
			if i+1 >= len(words) {
				r.lost = true
				return
			}
			stream = r.redirected(w.text, words[i+1].text, stream)
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

// redirected returns where standard output goes after a redirection.
func (r *reader) redirected(op, target string, stream int32) int32 {
	switch {
	case op == ">&" || op == "1>&":
		switch n, err := strconv.Atoi(target); {
		case err != nil:
		case n == 1 || n == 2:
			return int32(n)
		default:
			return toFile
		}
	case op == ">" || op == ">>" || op == "1>" || op == "1>>" || op == "&>":
		switch target {
		case "/dev/stdout", "/proc/1/fd/1":
			return toStdout
		case "/dev/stderr", "/proc/1/fd/2":
			return toStderr
		case "":
		case r.messageFile:
			if !strings.HasSuffix(op, ">>") {
				r.message = ""
			}
			return toMessage
		}
		return toFile
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
