package cost

import (
	"bytes"
	"cmp"
	"encoding/csv"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// openCostColumns is the header of OpenCost's CSV price provider.
var openCostColumns = []string{"EndTimestamp", "InstanceID", "Region", "AssetClass", "InstanceIDField", "InstanceType", "MarketPriceHourly", "Version"}

// parseOpenCost takes the hourly price of every node asset by its instance type; of several rows for one type the one
// with the latest EndTimestamp counts. Rows of other asset classes (pv, gpu) are named in Source and left out.
func parseOpenCost(file string, data []byte) (types map[string]TypePrice, source string, err error) {
	rows, at, err := table(file, data, openCostColumns)
	if err != nil {
		return nil, "", err
	}
	types, source = map[string]TypePrice{}, "OpenCost prices of "+file
	latest := map[string]string{}
	skipped := map[string]int{}
	for i, r := range rows {
		class := strings.ToLower(r[at["AssetClass"]])
		if class != "node" && class != "" {
			skipped[class]++
			continue
		}
		price, err := strconv.ParseFloat(r[at["MarketPriceHourly"]], 64)
		if err != nil || price < 0 || price != price {
			return nil, "", fmt.Errorf("%s:%d: MarketPriceHourly %q is no price of 0 or more", file, i+2, r[at["MarketPriceHourly"]])
		}
		name := cmp.Or(r[at["InstanceType"]], r[at["InstanceID"]])
		if name == "" {
			return nil, "", fmt.Errorf("%s:%d: the row names neither InstanceType nor InstanceID", file, i+2)
		}
		if end := r[at["EndTimestamp"]]; end >= latest[name] {
			latest[name] = end
			types[name] = TypePrice{OnDemand: price}
		}
	}
	for _, class := range slices.Sorted(maps.Keys(skipped)) {
		source += fmt.Sprintf("; %d rows of class %s left out", skipped[class], class)
	}
	return types, source, nil
}

// parseSpotCurve reads time,type,price rows; a price holds from its time to the next of the type.
func parseSpotCurve(file string, data []byte) (map[string][]SpotPrice, error) {
	rows, at, err := table(file, data, []string{"time", "type", "price"})
	if err != nil {
		return nil, err
	}
	curve := map[string][]SpotPrice{}
	for i, r := range rows {
		from, err := time.Parse(time.RFC3339, r[at["time"]])
		if err != nil {
			return nil, fmt.Errorf("%s:%d: time %q is not RFC 3339, such as 2026-11-27T18:30:00Z", file, i+2, r[at["time"]])
		}
		price, err := strconv.ParseFloat(r[at["price"]], 64)
		if err != nil || price < 0 || price != price {
			return nil, fmt.Errorf("%s:%d: price %q is no number of 0 or more", file, i+2, r[at["price"]])
		}
		name := r[at["type"]]
		curve[name] = append(curve[name], SpotPrice{From: from, PerHour: price})
	}
	for _, steps := range curve {
		slices.SortStableFunc(steps, func(a, b SpotPrice) int { return a.From.Compare(b.From) })
	}
	return curve, nil
}

// table reads a CSV with exactly the given columns in any order.
func table(file string, data []byte, columns []string) (rows [][]string, at map[string]int, err error) {
	r := csv.NewReader(bytes.NewReader(data))
	r.TrimLeadingSpace = true
	all, err := r.ReadAll()
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) == 0 {
		return nil, nil, fmt.Errorf("%s: is empty; its first line must be %s", file, strings.Join(columns, ","))
	}
	at = map[string]int{}
	for i, name := range all[0] {
		name = strings.TrimSpace(name)
		if !slices.Contains(columns, name) {
			return nil, nil, fmt.Errorf("%s:1: unknown column %q; the columns are %s", file, name, strings.Join(columns, ","))
		}
		at[name] = i
	}
	for _, name := range columns {
		if _, ok := at[name]; !ok {
			return nil, nil, fmt.Errorf("%s:1: column %q is missing; the columns are %s", file, name, strings.Join(columns, ","))
		}
	}
	return all[1:], at, nil
}
