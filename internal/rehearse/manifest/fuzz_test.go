package manifest

import "testing"

func FuzzParse(f *testing.F) {
	f.Add("---\n"+object("Service", "a")+"---\n# x\n", false)
	f.Add(`{"apiVersion":"v1","kind":"List","items":[{"kind":"List","apiVersion":"v1","items":[]}]}`, true)
	f.Add("a: &a [*a]\n", false)
	f.Fuzz(func(t *testing.T, text string, isJSON bool) {
		file := "f.yaml"
		if isJSON {
			file = "f.json"
		}
		objects, problems := Parse([]byte(text), file)
		for _, o := range objects {
			if o.Object.GetKind() == "" || o.Object.GetAPIVersion() == "" || o.Line < 1 {
				t.Errorf("an object without kind, version or line: %+v", o)
			}
		}
		for _, p := range problems {
			if p.Message == "" || p.Line < 1 {
				t.Errorf("a problem without message or line: %+v", p)
			}
		}
	})
}
