// Command gen writes types.csv, the embedded catalog of instance types, from data that two public modules publish. It
// copies facts only (shape, limits, price); neither module becomes a dependency of Fairway. Run it with
// "go generate ./internal/kube/catalog" on a machine that reaches a Go module proxy.
package main

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
)

const (
	shapesModule = "sigs.k8s.io/karpenter@v1.14.1"
	shapesFile   = "kwok/examples/aws_instance_types.json"
	awsModule    = "github.com/aws/karpenter-provider-aws@v1.14.1"
	pricesFile   = "pkg/providers/pricing/zz_generated.pricing_aws.go"
	limitsFile   = "pkg/providers/instancetype/zz_generated.vpclimits.go"
	region       = "us-east-1"
)

type row struct {
	name, arch          string
	cpu                 int64
	memoryMiB           int64
	ephemeralMiB        int64
	enis, ipsPerENI     int
	hypervisor          string
	metal               bool
	gpuModel            string
	gpus                int
	onDemandMicrodollar int64
}

func main() {
	log.SetFlags(0)
	rows, err := shapes(filepath.Join(module(shapesModule), shapesFile))
	if err != nil {
		log.Fatalf("reading shapes from %s: %v", shapesModule, err)
	}
	aws := module(awsModule)
	date, prices, err := onDemand(filepath.Join(aws, pricesFile))
	if err != nil {
		log.Fatalf("reading prices from %s: %v", awsModule, err)
	}
	limits, err := composite(filepath.Join(aws, limitsFile), "Limits")
	if err != nil {
		log.Fatalf("reading network limits from %s: %v", awsModule, err)
	}
	rows = slices.DeleteFunc(rows, func(r *row) bool { return prices[r.name] == 0 })
	for _, r := range rows {
		r.onDemandMicrodollar = prices[r.name]
		r.gpuModel, r.gpus = accelerators(r.name)
		if l, ok := limits[r.name]; ok {
			r.enis, _ = strconv.Atoi(l["Interface"])
			r.ipsPerENI, _ = strconv.Atoi(l["IPv4PerInterface"])
			r.hypervisor = l["Hypervisor"]
			r.metal = l["IsBareMetal"] == "true"
		}
	}
	if err := os.WriteFile("types.csv", render(rows, date), 0o644); err != nil {
		log.Fatal(err)
	}
}

// module returns the folder of a downloaded module version.
func module(at string) string {
	cmd := exec.Command("go", "mod", "download", "-json", at)
	cmd.Dir = os.TempDir() // outside any module, so that no go.mod changes
	out, err := cmd.Output()
	if err != nil {
		log.Fatalf("go mod download %s: %v %s", at, err, out)
	}
	var m struct{ Dir string }
	if err := json.Unmarshal(out, &m); err != nil {
		log.Fatal(err)
	}
	return m.Dir
}

func shapes(file string) ([]*row, error) {
	raw, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var list []struct {
		Name         string            `json:"name"`
		Architecture string            `json:"architecture"`
		Resources    map[string]string `json:"resources"`
	}
	if err := json.Unmarshal(raw, &list); err != nil {
		return nil, err
	}
	var rows []*row
	seen := map[string]bool{}
	for _, t := range list {
		if seen[t.Name] {
			continue // one entry an operating system
		}
		seen[t.Name] = true
		arch := "amd64" // types that list i386 first run x86_64 as well
		if t.Architecture == "arm64" {
			arch = "arm64"
		}
		var amount [3]int64
		for i, name := range []string{"cpu", "memory", "ephemeral-storage"} {
			q, err := resource.ParseQuantity(t.Resources[name])
			if err != nil {
				return nil, fmt.Errorf("%s %s: %w", t.Name, name, err)
			}
			amount[i] = q.Value()
		}
		memory := amount[1] >> 20
		if exact := fractionalMemoryMiB[t.Name]; exact != 0 {
			memory = exact
		}
		rows = append(rows, &row{name: t.Name, arch: arch, cpu: amount[0], memoryMiB: memory, ephemeralMiB: amount[2] >> 20})
	}
	slices.SortFunc(rows, func(a, b *row) int { return strings.Compare(a.name, b.name) })
	return rows, nil
}

// fractionalMemoryMiB lists the types whose memory is no whole number of GiB, which the shapes file rounds down. Facts
// from EC2's pages of instance type specifications.
var fractionalMemoryMiB = map[string]int64{
	"t1.micro": 627, "t2.nano": 512, "t3.nano": 512, "t3a.nano": 512, "t4g.nano": 512,
	"m1.small": 1740, "m1.medium": 3788, "m1.large": 7680, "m2.xlarge": 17510, "m2.2xlarge": 35020, "m2.4xlarge": 70041,
	"m3.medium": 3840, "m3.large": 7680, "c1.medium": 1740, "c3.large": 3840, "c3.xlarge": 7680, "c4.large": 3840,
	"c4.xlarge": 7680, "c5n.large": 5376, "c5n.xlarge": 10752, "r3.large": 15616, "r3.xlarge": 31232, "r4.large": 15616,
	"r4.xlarge": 31232, "i3.large": 15616, "i3.xlarge": 31232, "d2.xlarge": 31232, "g3s.xlarge": 31232,
}

// onDemand reads the generated price table and the day it was made.
func onDemand(file string) (string, map[string]int64, error) {
	src, err := os.ReadFile(file)
	if err != nil {
		return "", nil, err
	}
	made := regexp.MustCompile(`generated at (\d{4}-\d{2}-\d{2})T`).FindSubmatch(src)
	if made == nil {
		return "", nil, fmt.Errorf("%s does not say when it was generated", file)
	}
	fields, err := composite(file, "InitialOnDemandPricesAWS")
	if err != nil {
		return "", nil, err
	}
	prices := map[string]int64{}
	for name, text := range fields[region] {
		dollars, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return "", nil, fmt.Errorf("price of %s: %w", name, err)
		}
		prices[name] = int64(dollars*1e6 + 0.5)
	}
	return string(made[1]), prices, nil
}

// composite reads `var name = map[string]…{key: {field: literal}}` as nested string maps.
func composite(file, name string) (map[string]map[string]string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		return nil, err
	}
	object := parsed.Scope.Lookup(name)
	if object == nil {
		return nil, fmt.Errorf("%s has no variable %s", file, name)
	}
	outer, ok := object.Decl.(*ast.ValueSpec).Values[0].(*ast.CompositeLit)
	if !ok {
		return nil, fmt.Errorf("%s: %s is not a literal", file, name)
	}
	result := map[string]map[string]string{}
	for _, e := range outer.Elts {
		pair := e.(*ast.KeyValueExpr)
		inner := pair.Value
		if ref, ok := inner.(*ast.UnaryExpr); ok {
			inner = ref.X
		}
		fields := map[string]string{}
		for _, f := range inner.(*ast.CompositeLit).Elts {
			field := f.(*ast.KeyValueExpr)
			if text := literal(field.Value); text != "" {
				fields[literal(field.Key)] = text
			}
		}
		result[literal(pair.Key)] = fields
	}
	return result, nil
}

func literal(e ast.Expr) string {
	switch v := e.(type) {
	case *ast.BasicLit:
		return strings.Trim(v.Value, `"`)
	case *ast.Ident:
		return v.Name
	}
	return ""
}

// accelerators gives model and number of NVIDIA and AMD GPUs, which the shapes file lacks. Facts from EC2's page
// "Specifications for Amazon EC2 accelerated computing instances".
func accelerators(name string) (string, int) {
	family, size, _ := strings.Cut(name, ".")
	g5 := map[string]int{"12xlarge": 4, "24xlarge": 4, "48xlarge": 8}
	table := map[string]struct {
		model string
		sizes map[string]int // sizes not named carry one
	}{
		"g3":   {"nvidia-m60", map[string]int{"8xlarge": 2, "16xlarge": 4}},
		"g3s":  {"nvidia-m60", nil},
		"g4ad": {"amd-v520", map[string]int{"8xlarge": 2, "16xlarge": 4}},
		"g4dn": {"nvidia-t4", map[string]int{"12xlarge": 4, "metal": 8}},
		"g5":   {"nvidia-a10g", g5},
		"g5g":  {"nvidia-t4g", map[string]int{"16xlarge": 2, "metal": 2}},
		"g6":   {"nvidia-l4", g5},
		"g6e":  {"nvidia-l40s", g5},
		"gr6":  {"nvidia-l4", nil},
		"p2":   {"nvidia-k80", map[string]int{"8xlarge": 8, "16xlarge": 16}},
		"p3":   {"nvidia-v100", map[string]int{"8xlarge": 4, "16xlarge": 8}},
		"p3dn": {"nvidia-v100", map[string]int{"24xlarge": 8}},
		"p4d":  {"nvidia-a100", map[string]int{"24xlarge": 8}},
		"p4de": {"nvidia-a100", map[string]int{"24xlarge": 8}},
		"p5":   {"nvidia-h100", map[string]int{"48xlarge": 8}},
		"p5e":  {"nvidia-h200", map[string]int{"48xlarge": 8}},
		"p5en": {"nvidia-h200", map[string]int{"48xlarge": 8}},
	}
	f, ok := table[family]
	if !ok {
		return "", 0
	}
	if n, ok := f.sizes[size]; ok {
		return f.model, n
	}
	return f.model, 1
}

func render(rows []*row, date string) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Generated by gen/main.go; do not edit.\n# source: %s (shapes), %s (prices, network limits)\n", shapesModule, awsModule)
	fmt.Fprintf(&b, "# licence: Apache-2.0 (both modules)\n# date: %s\n# region: %s\n", date, region)
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"name", "arch", "cpu", "memoryMiB", "ephemeralMiB", "enis", "ipsPerENI", "hypervisor", "metal", "gpu", "gpus", "onDemandMicroUSD"})
	for _, r := range rows {
		metal := ""
		if r.metal {
			metal = "1"
		}
		_ = w.Write([]string{r.name, r.arch, number(r.cpu), number(r.memoryMiB), number(r.ephemeralMiB), number(int64(r.enis)),
			number(int64(r.ipsPerENI)), r.hypervisor, metal, r.gpuModel, number(int64(r.gpus)), number(r.onDemandMicrodollar)})
	}
	w.Flush()
	return b.Bytes()
}

func number(n int64) string {
	if n == 0 {
		return ""
	}
	return strconv.FormatInt(n, 10)
}
