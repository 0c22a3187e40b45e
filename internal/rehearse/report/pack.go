package report

import (
	"encoding/base64"
	"encoding/binary"
	"math"
)

// packPoints is the number of points a packed series keeps: two for each pixel column of a wide plot.
const packPoints = 720

// noPoint marks "no data" in a packed series.
const noPoint = 0xFFFF

// packed is a series for the HTML report: 16-bit steps between Low and High, little-endian, base64.
type packed struct {
	Low  float64 `json:"a"`
	High float64 `json:"b"`
	Data string  `json:"d"`
}

// pack thins a series to at most packPoints points and quantises them. A longer series keeps the lowest and highest value
// of each stretch, in the order in which they occur, so that no spike is lost.
func pack(values []float64) packed { return quantise(thinned(values)) }

// packOne keeps one value of each stretch, so that steps stay where they are and stacked series fit each other: the
// lowest, or the highest of what is bad when high.
func packOne(values []float64, highest bool) packed {
	if len(values) <= packPoints {
		return quantise(values)
	}
	out := make([]float64, packPoints)
	for b := range out {
		out[b] = math.NaN()
		for _, v := range values[b*len(values)/packPoints : (b+1)*len(values)/packPoints] {
			if math.IsNaN(out[b]) || highest && v > out[b] || !highest && v < out[b] {
				out[b] = v
			}
		}
	}
	return quantise(out)
}

func quantise(thin []float64) packed {
	p := packed{Low: math.Inf(1), High: math.Inf(-1)}
	for _, v := range thin {
		if !math.IsNaN(v) {
			p.Low, p.High = min(p.Low, v), max(p.High, v)
		}
	}
	if p.Low > p.High {
		p.Low, p.High = 0, 0
	}
	p.Low, p.High = significant(p.Low, summaryDigits), significant(p.High, summaryDigits)
	raw := make([]byte, 2*len(thin))
	for i, v := range thin {
		step := uint16(noPoint)
		switch {
		case math.IsNaN(v):
		case p.High <= p.Low:
			step = 0
		default:
			step = uint16(math.Round(min(1, max(0, (v-p.Low)/(p.High-p.Low))) * (noPoint - 1)))
		}
		binary.LittleEndian.PutUint16(raw[2*i:], step)
	}
	p.Data = base64.StdEncoding.EncodeToString(raw)
	return p
}

func thinned(values []float64) []float64 {
	if len(values) <= packPoints {
		return values
	}
	const buckets = packPoints / 2
	out := make([]float64, 0, packPoints)
	for b := range buckets {
		from, to := b*len(values)/buckets, (b+1)*len(values)/buckets
		low, high := -1, -1
		for i := from; i < to; i++ {
			if math.IsNaN(values[i]) {
				continue
			}
			if low < 0 || values[i] < values[low] {
				low = i
			}
			if high < 0 || values[i] > values[high] {
				high = i
			}
		}
		if low < 0 {
			out = append(out, math.NaN(), math.NaN())
			continue
		}
		out = append(out, values[min(low, high)], values[max(low, high)])
	}
	return out
}
