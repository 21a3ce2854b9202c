package main

import (
	"fmt"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sumBelow is 0 + 1 + … + (n-1): what the numbers of n operations must add up to.
func sumBelow(n uint64) uint64 {
	return n * (n - 1) / 2
}

func check(what string, got, want uint64) {
	if got != want {
		panic(fmt.Sprintf("%s: got %d, want %d", what, got, want))
	}
}

// spawn joins over a channel that carries the result: the cheapest of Go's ways when measured
// (WaitGroup with Add and Done is 5 to 10 % behind, WaitGroup.Go 15 %).
func spawn(n uint64) {
	results := make(chan uint64)
	var sum uint64
	for i := range n {
		go func() { results <- i }()
		sum += <-results
	}
	check("spawn", sum, sumBelow(n))
}

func spawnBatches(n uint64) {
	var wg sync.WaitGroup
	var sum uint64
	results := make([]uint64, spawnBatch)
	for first := uint64(0); first < n; first += spawnBatch {
		batch := results[:min(spawnBatch, n-first)]
		wg.Add(len(batch))
		for i := range batch {
			go func() {
				batch[i] = first + uint64(i)
				wg.Done()
			}()
		}
		wg.Wait()
		for _, value := range batch {
			sum += value
		}
	}
	check("spawn_batch", sum, sumBelow(n))
}

func pingPong(n uint64) {
	pings, pongs := make(chan uint64), make(chan uint64)
	go func() {
		for value := range pings {
			pongs <- value + 1
		}
		close(pongs)
	}()
	var value uint64
	for range n {
		pings <- value
		value = <-pongs
	}
	close(pings)
	if _, open := <-pongs; open {
		panic("ping_pong: a value too many")
	}
	check("ping_pong", value, n)
}

func chan1p1c(n uint64, capacity int) {
	values := make(chan uint64, capacity)
	go func() {
		for i := range n {
			values <- i
		}
		close(values)
	}()
	var count, sum uint64
	for value := range values {
		count++
		sum += value
	}
	check("chan_1p1c count", count, n)
	check("chan_1p1c sum", sum, sumBelow(n))
}

func chan4p4c(n uint64, capacity int) {
	values := make(chan uint64, capacity)
	var producers, consumers sync.WaitGroup
	for p := range uint64(4) {
		producers.Go(func() {
			for i := p; i < n; i += 4 {
				values <- i
			}
		})
	}
	var counts, sums [4]uint64
	for c := range 4 {
		consumers.Go(func() {
			var count, sum uint64
			for value := range values {
				count++
				sum += value
			}
			counts[c], sums[c] = count, sum
		})
	}
	producers.Wait()
	close(values)
	consumers.Wait()
	check("chan_4p4c count", counts[0]+counts[1]+counts[2]+counts[3], n)
	check("chan_4p4c sum", sums[0]+sums[1]+sums[2]+sums[3], sumBelow(n))
}

func select4(n uint64) {
	var arms [4]chan uint64
	for p := range uint64(4) {
		arm := make(chan uint64)
		arms[p] = arm
		go func() {
			for i := p; i < n; i += 4 {
				arm <- i
			}
		}()
	}
	a, b, c, d := arms[0], arms[1], arms[2], arms[3]
	var sum uint64
	for range n {
		var value uint64
		select {
		case value = <-a:
		case value = <-b:
		case value = <-c:
		case value = <-d:
		}
		sum += value
	}
	check("select_4", sum, sumBelow(n))
}

func mutex(n, goroutines uint64) {
	var mu sync.Mutex
	var counter uint64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			for i := g; i < n; i += goroutines {
				mu.Lock()
				counter++
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	check("mutex", counter, n)
}

func yields(n, goroutines uint64) {
	var total atomic.Uint64
	var wg sync.WaitGroup
	for g := range goroutines {
		wg.Go(func() {
			var count uint64
			for i := g; i < n; i += goroutines {
				runtime.Gosched()
				count++
			}
			total.Add(count)
		})
	}
	wg.Wait()
	check("yield", total.Load(), n)
}

func parked(n uint64) result {
	gate := make(chan struct{})
	told := make(chan struct{})
	var arrived, woken, sum atomic.Uint64

	before := residentBytes()
	start := time.Now()
	for i := range n {
		go func() {
			if arrived.Add(1) == n {
				told <- struct{}{}
			}
			<-gate
			sum.Add(i)
			if woken.Add(1) == n {
				told <- struct{}{}
			}
		}()
	}
	<-told
	create := time.Since(start)
	bytes := residentBytes() - before

	start = time.Now()
	close(gate)
	<-told
	wake := time.Since(start)

	check("parked", sum.Load(), sumBelow(n))
	return result{elapsed: create, extra: map[string]float64{
		"wake_ns":    perOp(wake, n),
		"bytes_each": float64(bytes) / float64(n),
	}}
}

// residentBytes is resident memory plus page tables, as the other twins count it.
func residentBytes() uint64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	var kilobytes uint64
	for line := range strings.Lines(string(status)) {
		fields := strings.Fields(line)
		if fields[0] == "VmRSS:" || fields[0] == "VmPTE:" {
			number, err := strconv.ParseUint(fields[1], 10, 64)
			if err != nil {
				panic(err)
			}
			kilobytes += number
		}
	}
	return kilobytes * 1024
}
