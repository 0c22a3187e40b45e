package zone

import (
	"testing"
	"time"
)

func TestZonesComeFromTheEmbeddedDatabase(t *testing.T) {
	t.Setenv("ZONEINFO", t.TempDir()) // what the machine knows must not matter
	for name, want := range map[string]string{"Europe/Berlin": "CEST", "": "UTC", "UTC": "UTC", "America/New_York": "EDT"} {
		l, err := Load(name)
		if err != nil {
			t.Fatal(err)
		}
		if got := time.Date(2026, 7, 1, 12, 0, 0, 0, l).Format("MST"); got != want {
			t.Errorf("%q is %s in July, want %s", name, got, want)
		}
	}
}

func TestUnknownAndLocalZonesAreRefused(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"Local", "Europe/Atlantis", "../etc/passwd", "Europe"} {
		if l, err := Load(name); err == nil {
			t.Errorf("%q is %s", name, l)
		}
	}
	if names := Names(); len(names) < 400 {
		t.Errorf("only %d zones", len(names))
	}
}
