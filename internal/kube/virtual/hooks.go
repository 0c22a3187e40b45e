package virtual

import (
	"strings"
	"time"
)

// sleepOf reads how long a hook's command takes: "sleep N" alone or as the text of a shell; other commands take no time.
func sleepOf(argv []string) time.Duration {
	if len(argv) == 3 && (strings.HasSuffix(argv[0], "sh")) && strings.HasPrefix(argv[1], "-") && strings.HasSuffix(argv[1], "c") {
		argv = strings.FieldsFunc(argv[2], func(r rune) bool { return r == ' ' || r == '\t' || r == '\n' || r == ';' || r == '&' })
	}
	var total time.Duration
	for i := 0; i+1 < len(argv); i++ {
		if argv[i] != "sleep" && !strings.HasSuffix(argv[i], "/sleep") {
			continue
		}
		text := argv[i+1]
		if d, err := time.ParseDuration(text); err == nil {
			total += d
		} else if d, err := time.ParseDuration(text + "s"); err == nil {
			total += d
		}
	}
	return max(total, 0)
}
