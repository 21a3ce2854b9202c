package main

import (
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// See bench/workload/src/{lateness,hog,block}.rs for what these measure and why so.
const (
	tick     = time.Millisecond
	grace    = 3 * time.Second
	hogs     = 4
	blockers = 64
)

// lateness holds how late each tick was for who waits for it.
type lateness struct {
	start  time.Time
	late   []atomic.Int64
	served atomic.Int64
	seen   atomic.Int64
}

func startLateness(n uint64) *lateness {
	return &lateness{start: time.Now(), late: make([]atomic.Int64, n)}
}

func (l *lateness) due(index int64) time.Duration {
	return tick * time.Duration(index+1)
}

// serve counts all that is due now. True while more is to come.
func (l *lateness) serve() bool {
	now := time.Since(l.start)
	served := l.served.Load()
	for served < int64(len(l.late)) && l.due(served) <= now {
		l.late[served].Store(int64(now - l.due(served)))
		served++
	}
	l.served.Store(served)
	l.seen.Add(1)
	return served < int64(len(l.late))
}

func (l *lateness) run() {
	ticker := time.NewTicker(tick)
	for {
		<-ticker.C
		if !l.serve() {
			return
		}
	}
}

// wait is the main goroutine's; it looks now and then.
func (l *lateness) wait() {
	last := l.start.Add(l.due(int64(len(l.late))) + grace)
	for l.served.Load() < int64(len(l.late)) && time.Now().Before(last) {
		time.Sleep(5 * tick)
	}
}

func (l *lateness) result() result {
	served, n := l.served.Load(), len(l.late)
	late := make([]float64, n)
	for i := range late {
		late[i] = math.Inf(1)
		if int64(i) < served {
			late[i] = float64(l.late[i].Load()) / 1_000
		}
	}
	slices.Sort(late)
	at := func(share float64) float64 { return late[int(math.Round(float64(n-1)*share))] }
	return result{elapsed: time.Since(l.start), extra: map[string]float64{
		"p50_us": at(0.50),
		"p99_us": at(0.99),
		"max_us": at(1),
		"seen":   float64(l.seen.Load()),
		"served": float64(served),
	}}
}

// burn computes without a call until it is told to stop, and for ever if stop is nil.
//
//go:noinline
func burn(stop *atomic.Bool) (value, rounds uint64) {
	value = 1
	for !stop.Load() {
		value = value*6_364_136_223_846_793_005 + 1
		rounds++
	}
	return value, rounds
}

func hog(n uint64) result {
	l := startLateness(n)
	go l.run()
	var stop atomic.Bool
	var wg sync.WaitGroup
	var rounds [hogs]uint64
	for h := range hogs {
		wg.Go(func() { _, rounds[h] = burn(&stop) })
	}
	l.wait()
	measured := l.result()
	stop.Store(true)
	wg.Wait()
	var total uint64
	for _, each := range rounds {
		total += each
	}
	measured.extra["slowest_hog_percent"] = float64(slices.Min(rounds[:])) / (float64(total) / hogs) * 100
	return measured
}

// steps is something that ought to happen again and again.
type steps struct {
	start     time.Time
	last, gap atomic.Int64
	count     atomic.Int64
	over      atomic.Bool
}

func (s *steps) step() bool {
	now := int64(time.Since(s.start))
	last := s.last.Swap(now)
	s.gap.Store(max(s.gap.Load(), now-last))
	s.count.Add(1)
	return !s.over.Load()
}

func (s *steps) end() (count, gapMs float64) {
	s.over.Store(true)
	if s.count.Load() == 0 || int64(time.Since(s.start))-s.last.Load() > int64(time.Second) {
		return float64(s.count.Load()), math.Inf(1)
	}
	return float64(s.count.Load()), float64(s.gap.Load()) / 1e6
}

func hogRest(n uint64) result {
	l := startLateness(n)
	go l.run()

	pingPong := &steps{start: time.Now()}
	pings, pongs := make(chan uint64), make(chan uint64)
	go func() {
		for value := range pings {
			pongs <- value + 1
		}
	}()
	go func() {
		for value := uint64(0); ; value++ {
			pings <- value
			check("ping_pong", <-pongs, value+1)
			if !pingPong.step() {
				return
			}
		}
	}()

	echoes := &steps{start: time.Now()}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		echoConnection(conn)
	}()
	go echoClient(listener.Addr().String(), echoes)

	go burn(new(atomic.Bool))
	l.wait()
	measured := l.result()
	measured.extra["ping_pongs"], measured.extra["ping_pong_gap_ms"] = pingPong.end()
	measured.extra["echoes"], measured.extra["echo_gap_ms"] = echoes.end()
	return measured
}

func echoClient(addr string, echoes *steps) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		panic(err)
	}
	buffer := make([]byte, echoBytes)
	for {
		for i := range buffer {
			buffer[i] = 7
		}
		if _, err := conn.Write(buffer); err != nil {
			panic(err)
		}
		clear(buffer)
		for read := 0; read < echoBytes; {
			n, err := conn.Read(buffer[read:])
			if err != nil {
				panic(err)
			}
			read += n
		}
		for _, b := range buffer {
			check("echo", uint64(b), 7)
		}
		if !echoes.step() {
			return
		}
	}
}

// block runs 64 goroutines, each in call, beside the ticker; release ends the calls after n ms.
func block(n uint64, call func(index int), release func()) result {
	l := startLateness(n)
	length := tick * time.Duration(n)
	go l.run()
	var inside, most, ended, took atomic.Int64
	for b := range blockers {
		go func() {
			now := inside.Add(1)
			for old := most.Load(); old < now && !most.CompareAndSwap(old, now); old = most.Load() {
			}
			call(b)
			inside.Add(-1)
			if ended.Add(1) == blockers {
				took.Store(int64(time.Since(l.start)))
			}
		}()
	}
	waitUntil := func(condition func() bool) {
		for !condition() && time.Since(l.start) < length+grace {
			time.Sleep(tick)
		}
	}
	waitUntil(func() bool { return inside.Load() == blockers })
	l.wait()
	measured := l.result()
	release()
	waitUntil(func() bool { return ended.Load() == blockers })
	measured.extra["overlap"] = float64(most.Load())
	measured.extra["wall_ms"] = math.Inf(1)
	if ended.Load() == blockers && took.Load() < int64(length+grace) {
		measured.extra["wall_ms"] = float64(took.Load()) / 1e6
	}
	return measured
}

func blockRead(n uint64) result {
	var pipes [blockers][2]int
	for i := range pipes {
		if err := syscall.Pipe(pipes[i][:]); err != nil {
			panic(err)
		}
	}
	return block(n, func(index int) {
		buffer := make([]byte, 1)
		if n, err := syscall.Read(pipes[index][0], buffer); n != 1 || err != nil {
			panic(err)
		}
		check("block_read", uint64(buffer[0]), 7)
	}, func() {
		for _, pipe := range pipes {
			if n, err := syscall.Write(pipe[1], []byte{7}); n != 1 || err != nil {
				panic(err)
			}
		}
	})
}

func blockSleep(n uint64) result {
	return block(n, func(int) {
		left := syscall.NsecToTimespec(int64(tick) * int64(n))
		for syscall.Nanosleep(&left, &left) == syscall.EINTR {
		}
	}, func() {})
}

func blockLock(n uint64) result {
	var mu sync.Mutex
	var locked uint64
	mu.Lock()
	measured := block(n, func(int) {
		mu.Lock()
		locked++
		mu.Unlock()
	}, mu.Unlock)
	mu.Lock()
	check("block_lock", locked, blockers)
	measured.note = "go: sync.Mutex, which parks; Go has no lock that blocks a thread"
	return measured
}
