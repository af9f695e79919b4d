package check

import (
	"slices"
	"time"
)

// LongestGap gives the longest time between two acknowledgements that lie next to each other, of those times that touch a span: a gap that has begun before the
// span, or ends after it, counts whole. With no acknowledgement before it the gap begins with the run, and with none after it, at the end of the run.
func LongestGap(acks []time.Duration, of Span, end time.Duration) Span {
	acks = slices.Sorted(slices.Values(acks))
	longest := Span{}
	before := time.Duration(0)
	for _, ack := range append(acks, max(end, of.To)) {
		if ack > of.From && before < of.To && ack-before > longest.Length() {
			longest = Span{before, ack}
		}
		before = ack
	}
	return longest
}

// Acknowledged are the times at which writes were acknowledged, sorted.
func Acknowledged(writes []Write) []time.Duration {
	var acks []time.Duration
	for _, w := range writes {
		if w.Outcome == OK {
			acks = append(acks, w.Done)
		}
	}
	slices.Sort(acks)
	return acks
}

// Quantile gives the smallest of some times that a share q of them, from 0 to 1, does not exceed; 0 when there are none.
func Quantile(times []time.Duration, q float64) time.Duration {
	if len(times) == 0 {
		return 0
	}
	times = slices.Sorted(slices.Values(times))
	n := int(q*float64(len(times)) + 0.999999)
	return times[min(max(n, 1), len(times))-1]
}
