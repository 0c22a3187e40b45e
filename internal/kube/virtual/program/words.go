package program

import "strings"

// word is a token of shell text: a word, or an operator.
type word struct {
	text     string
	operator bool
	quoted   bool // some of it stood in quotes: never a keyword
	dynamic  bool // holds a substitution that only a shell could carry out
}

// scriptMax bounds the text that is read; longer scripts are left to a shell.
const scriptMax = 64 << 10

// split cuts shell text into tokens. $NAME and ${NAME} become marks, expanded when the word is used. It returns false
// for text it cannot cut: an unclosed quote, a here document.
func split(text string) ([]word, bool) {
	if len(text) > scriptMax || strings.ContainsAny(text, string(varOpen)+string(varClose)+"\x00") {
		return nil, false
	}
	s := &scanner{text: text}
	for s.next() {
	}
	return s.out, !s.bad
}

// variable marks surround the name of a variable inside a word, for expansion when the word is used.
const (
	varOpen  = '\x01'
	varClose = '\x02'
)

type scanner struct {
	text string
	at   int
	out  []word
	cur  strings.Builder
	in   bool // inside a word
	word word
	bad  bool
}

// next reads one character or construct; it returns false at the end.
func (s *scanner) next() bool {
	if s.bad || s.at >= len(s.text) {
		s.flush()
		return false
	}
	c := s.text[s.at]
	switch {
	case c == ' ' || c == '\t' || c == '\r':
		s.flush()
		s.at++
	case c == '#' && !s.in:
		if end := strings.IndexByte(s.text[s.at:], '\n'); end >= 0 {
			s.at += end
		} else {
			s.at = len(s.text)
		}
	case c == '\\':
		s.escape()
	case c == '\'':
		s.single()
	case c == '"':
		s.double()
	case c == '$' || c == '`':
		s.dollar()
	case strings.HasPrefix(s.text[s.at:], "((") && !s.in:
		s.arithmetic()
	case strings.IndexByte(";&|()<>\n", c) >= 0:
		s.operator()
	default:
		s.add(s.text[s.at : s.at+1])
		s.at++
	}
	return true
}

func (s *scanner) add(text string) {
	s.cur.WriteString(text)
	s.in = true
}

func (s *scanner) flush() {
	if s.in {
		s.word.text = s.cur.String()
		s.out = append(s.out, s.word)
	}
	s.cur.Reset()
	s.word, s.in = word{}, false
}

func (s *scanner) escape() {
	switch {
	case s.at+1 >= len(s.text):
		s.bad = true
	case s.text[s.at+1] == '\n':
	default:
		s.add(s.text[s.at+1 : s.at+2])
		s.word.quoted = true
	}
	s.at += 2
}

func (s *scanner) single() {
	end := strings.IndexByte(s.text[s.at+1:], '\'')
	if end < 0 {
		s.bad = true
		return
	}
	s.add(s.text[s.at+1 : s.at+1+end])
	s.word.quoted = true
	s.at += end + 2
}

func (s *scanner) double() {
	s.word.quoted, s.in = true, true
	for s.at++; s.at < len(s.text); {
		switch c := s.text[s.at]; {
		case c == '"':
			s.at++
			return
		case c == '\\' && s.at+1 < len(s.text) && strings.IndexByte("$`\"\\\n", s.text[s.at+1]) >= 0:
			if s.text[s.at+1] != '\n' {
				s.add(s.text[s.at+1 : s.at+2])
			}
			s.at += 2
		case c == '$' || c == '`':
			s.dollar()
			if s.bad {
				return
			}
		default:
			s.add(s.text[s.at : s.at+1])
			s.at++
		}
	}
	s.bad = true
}

// dollar reads $NAME or ${NAME} as a variable, and passes over every other substitution.
func (s *scanner) dollar() {
	s.in = true
	rest := s.text[s.at:]
	switch {
	case rest[0] == '`':
		end := strings.IndexByte(rest[1:], '`')
		s.skip(end + 2)
		s.bad = s.bad || end < 0
	case strings.HasPrefix(rest, "$("):
		n := balanced(rest[1:])
		s.skip(n + 1)
		s.bad = s.bad || n < 0
	case strings.HasPrefix(rest, "${"):
		end := strings.IndexByte(rest, '}')
		if end > 2 && isName(rest[2:end]) {
			s.cur.WriteString(string(varOpen) + rest[2:end] + string(varClose))
			s.at += end + 1
			return
		}
		s.skip(end + 1)
		s.bad = s.bad || end < 0
	default:
		n := 1
		for n < len(rest) && isNameByte(rest[n], n == 1) {
			n++
		}
		if n == 1 {
			if n < len(rest) && strings.IndexByte("?$!#@*-0123456789", rest[n]) >= 0 {
				s.skip(2)
				return
			}
			s.add("$")
			s.at++
			return
		}
		s.cur.WriteString(string(varOpen) + rest[1:n] + string(varClose))
		s.at += n
	}
}

func (s *scanner) skip(n int) {
	s.word.dynamic = true
	if n > 0 {
		s.at += n
	}
}

// arithmetic reads ((…)) as one word.
func (s *scanner) arithmetic() {
	n := balanced(s.text[s.at:])
	if n < 0 {
		s.bad = true
		return
	}
	s.add(s.text[s.at : s.at+n])
	s.at += n
	s.flush()
}

func (s *scanner) operator() {
	c := s.text[s.at]
	if s.in && (c == '<' || c == '>') && !s.word.quoted && strings.Trim(s.cur.String(), "0123456789") == "" {
		s.cur.Reset() // the number of a file descriptor
		s.in = false
		s.operatorAt(string(s.text[s.at-1]))
		return
	}
	s.flush()
	s.operatorAt("")
}

func (s *scanner) operatorAt(descriptor string) {
	rest := s.text[s.at:]
	for _, op := range []string{"<<", "&&", "||", ">>", ">&", "<&", ";;", "&>"} {
		if strings.HasPrefix(rest, op) {
			s.bad = s.bad || op == "<<"
			s.out = append(s.out, word{text: descriptor + op, operator: true})
			s.at += len(op)
			return
		}
	}
	s.out = append(s.out, word{text: descriptor + rest[:1], operator: true})
	s.at++
}

// balanced returns the length of the text up to the bracket that closes the first one, or -1. Quotes are passed over.
func balanced(text string) int {
	depth := 0
	for i := 0; i < len(text); i++ {
		switch text[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return i + 1
			}
		case '\\':
			i++
		case '\'', '"':
			end := strings.IndexByte(text[i+1:], text[i])
			if end < 0 {
				return -1
			}
			i += end + 1
		}
	}
	return -1
}

func isName(s string) bool {
	for i := range len(s) {
		if !isNameByte(s[i], i == 0) {
			return false
		}
	}
	return s != ""
}

func isNameByte(c byte, first bool) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || !first && c >= '0' && c <= '9'
}
