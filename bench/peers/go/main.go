// The Go twin of gort's benchmarks: the same workloads with the same parameters, in plain Go.
//
//	bench-go <workload> [--procs N] [--n N]
//
// The work is done once with a tenth of n to warm up, then with n under the clock. Each workload
// checks what it did and panics if it is wrong. The result is one line of JSON on standard output.
// What a workload models and how its number could mislead is written once, for all twins, in
// bench/workload/src/workload.rs.
//
// Nothing is tuned: the garbage collector runs with its defaults, GOMAXPROCS is --procs.
package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"runtime"
	"strconv"
	"time"
)

const (
	spawnBatch   = 1_000
	chanCapacity = 128
	echoBytes    = 64
)

// workload is one row: how many operations by default, and what to do.
type workload struct {
	n   uint64
	run func(n uint64) result
}

// workloads has the same names and the same n as Workload in bench/workload; a test there compares.
var workloads = map[string]workload{
	"spawn":                {500_000, timed(spawn)},
	"spawn_batch":          {1_000_000, timed(spawnBatches)},
	"ping_pong":            {1_000_000, timed(pingPong)},
	"chan_1p1c":            {5_000_000, timed(func(n uint64) { chan1p1c(n, chanCapacity) })},
	"chan_1p1c_unbuffered": {2_000_000, timed(func(n uint64) { chan1p1c(n, 0) })},
	"chan_4p4c":            {4_000_000, timed(func(n uint64) { chan4p4c(n, chanCapacity) })},
	"chan_4p4c_unbuffered": {2_000_000, timed(func(n uint64) { chan4p4c(n, 0) })},
	"select_4":             {1_000_000, timed(select4)},
	"mutex":                {8_000_000, timed(func(n uint64) { mutex(n, 4) })},
	"mutex_uncontended":    {20_000_000, timed(func(n uint64) { mutex(n, 1) })},
	"yield_2":              {4_000_000, timed(func(n uint64) { yields(n, 2) })},
	"yield_100":            {4_000_000, timed(func(n uint64) { yields(n, 100) })},
	"parked":               {20_000, parked},
	"echo_64":              {200_000, func(n uint64) result { return echo(n, 64) }},
	"echo_1000":            {200_000, func(n uint64) result { return echo(n, 1_000) }},
	"hog":                  {3_000, hog},
	"hog_rest":             {3_000, hogRest},
	"block_read":           {1_000, blockRead},
	"block_sleep":          {1_000, blockSleep},
	"block_lock":           {1_000, blockLock},
}

// result is what a run measured; extra holds the numbers beyond the time per operation, note what is
// different here.
type result struct {
	elapsed time.Duration
	extra   map[string]float64
	note    string
}

func timed(work func(n uint64)) func(n uint64) result {
	return func(n uint64) result {
		work(max(n/10, 1))
		start := time.Now()
		work(n)
		return result{elapsed: time.Since(start)}
	}
}

func main() {
	if len(os.Args) < 2 {
		usage("no workload given")
	}
	name := os.Args[1]
	w, known := workloads[name]
	if !known {
		usage("unknown workload: " + name)
	}
	n, procs := w.n, 1
	for rest := os.Args[2:]; len(rest) > 0; rest = rest[2:] {
		if len(rest) < 2 {
			usage(rest[0] + " needs a number")
		}
		number, err := strconv.ParseUint(rest[1], 10, 32)
		if err != nil || number == 0 {
			usage(rest[0] + ": not a number of at least 1: " + rest[1])
		}
		switch rest[0] {
		case "--procs":
			procs = int(number)
		case "--n":
			n = number
		default:
			usage("unknown option: " + rest[0])
		}
	}
	runtime.GOMAXPROCS(procs)
	report(name, procs, n, w.run(n))
}

func report(name string, procs int, n uint64, measured result) {
	line := map[string]any{
		"peer":      "go",
		"workload":  name,
		"procs":     procs,
		"n":         n,
		"ops":       n,
		"ns_per_op": perOp(measured.elapsed, n),
		"checked":   true,
	}
	for key, value := range measured.extra {
		if math.IsInf(value, 1) {
			line[key] = "never"
		} else {
			line[key] = value
		}
	}
	if measured.note != "" {
		line["note"] = measured.note
	}
	if err := json.NewEncoder(os.Stdout).Encode(line); err != nil {
		panic(err)
	}
}

func perOp(elapsed time.Duration, n uint64) float64 {
	return float64(elapsed.Nanoseconds()) / float64(n)
}

func usage(why string) {
	fmt.Fprintln(os.Stderr, "bench-go:", why)
	fmt.Fprintln(os.Stderr, "usage: bench-go <workload> [--procs N] [--n N]")
	os.Exit(2)
}
