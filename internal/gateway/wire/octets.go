package wire

import "unsafe"

// Classes of octets, of RFC 9110 section 5 and RFC 3986.
const (
	isToken  = 1 << iota // names and methods
	isValue              // values of fields
	isTarget             // targets of requests
	isHost               // hosts with their ports, but for brackets
	isHex
)

var class = func() (t [256]byte) {
	mark := func(chars string, c byte) {
		for i := range len(chars) {
			t[chars[i]] |= c
		}
	}
	const alphanumeric = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	mark(alphanumeric+"!#$%&'*+-.^_`|~", isToken)
	mark(alphanumeric+"-._~!$&'()*+,;=", isHost)
	mark("0123456789abcdefABCDEF", isHex)
	for c := 0x21; c < 0x100; c++ {
		if c != 0x7f {
			t[c] |= isValue
			if c != '#' { // a fragment is never sent
				t[c] |= isTarget
			}
		}
	}
	mark(" \t", isValue)
	return t
}()

// all reports whether all octets are of the class.
func all[T string | []byte](b T, c byte) bool {
	for i := range len(b) {
		if class[b[i]]&c == 0 {
			return false
		}
	}
	return true
}

// ValidName and ValidValue report whether a field may be sent with that name and value.
func ValidName(name string) bool { return name != "" && all(name, isToken) }

// ValidValue reports whether a field may have that value: no control characters, above all no line ends.
func ValidValue(value string) bool { return all(value, isValue) }

// text is the bytes as a string without a copy.
func text(b []byte) string { return unsafe.String(unsafe.SliceData(b), len(b)) }

// EqualFold compares ASCII letters of any case alike. lower must be in lower case.
func EqualFold(s, lower string) bool {
	if len(s) != len(lower) {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if 'A' <= c && c <= 'Z' {
			c |= 0x20
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// trim cuts optional white space off both ends.
func trim(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t') {
		b = b[1:]
	}
	for len(b) > 0 && (b[len(b)-1] == ' ' || b[len(b)-1] == '\t') {
		b = b[:len(b)-1]
	}
	return b
}

// eachToken goes through a list of tokens that commas divide, until f returns false.
func eachToken(list string, f func(token string) bool) {
	for at := 0; at <= len(list); {
		end := at
		for end < len(list) && list[end] != ',' {
			end++
		}
		from, to := at, end
		for from < to && (list[from] == ' ' || list[from] == '\t') {
			from++
		}
		for to > from && (list[to-1] == ' ' || list[to-1] == '\t') {
			to--
		}
		if from < to && !f(list[from:to]) {
			return
		}
		at = end + 1
	}
}

// HasToken reports whether a list that commas divide has the token, which must be in lower case.
func HasToken(list, lower string) (found bool) {
	eachToken(list, func(token string) bool {
		found = EqualFold(token, lower)
		return !found
	})
	return found
}
