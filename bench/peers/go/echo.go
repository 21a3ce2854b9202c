package main

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// echo serves the common load generator from this process: a goroutine per connection.
func echo(n uint64, connections int) result {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		panic(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				panic(err)
			}
			go echoConnection(conn)
		}
	}()
	return driveEcho(listener.Addr().String(), connections, n)
}

// echoConnection has no SetNoDelay: Go sets it on every TCP connection.
func echoConnection(conn net.Conn) {
	defer conn.Close()
	buffer := make([]byte, echoBytes)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return
		}
		if _, err := conn.Write(buffer[:n]); err != nil {
			return
		}
	}
}

// driveEcho runs the load generator; see bench/workload/src/echo.rs for what the two say.
func driveEcho(addr string, connections int, n uint64) result {
	load := exec.Command(loadProgram(), "--addr", addr, "--conns", fmt.Sprint(connections), "--n", fmt.Sprint(n))
	load.Stderr = os.Stderr
	orders, err := load.StdinPipe()
	if err != nil {
		panic(err)
	}
	answers, err := load.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := load.Start(); err != nil {
		panic(err)
	}
	lines := bufio.NewReader(answers)
	if line, _ := lines.ReadString('\n'); line != "ready\n" {
		panic("the load generator is not ready: " + line)
	}
	cpuBefore := processCPU()
	if _, err := orders.Write([]byte("go\n")); err != nil {
		panic(err)
	}
	line, err := lines.ReadString('\n')
	cpu := processCPU() - cpuBefore
	if err != nil {
		panic(err)
	}
	var ops, elapsed, p50, p99 uint64
	if _, err := fmt.Sscan(line, &ops, &elapsed, &p50, &p99); err != nil {
		panic(err)
	}
	if err := load.Wait(); err != nil {
		panic(err)
	}
	check("round trips", ops, n)
	return result{elapsed: time.Duration(elapsed), extra: map[string]float64{
		"cpu_ns_per_op": perOp(cpu, n),
		"p50_us":        float64(p50) / 1_000,
		"p99_us":        float64(p99) / 1_000,
	}}
}

func loadProgram() string {
	if path := os.Getenv("GORT_BENCH_LOAD"); path != "" {
		return path
	}
	own, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return filepath.Join(filepath.Dir(own), "bench-load")
}

func processCPU() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}
