// SPDX-License-Identifier: MIT

// The peer in Go: x/sync/singleflight. Prints the lines that the harness prints (see ../harness.hpp).
package main

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/singleflight"
)

var (
	rounds = flag.Int("rounds", 5, "rounds")
	only   = flag.String("only", "", "regular expression: which scenarios")
	quick  = flag.Bool("quick", false, "small sizes")
)

const distinct = 4096

var keys []string

func makeKeys(count int) {
	for i := len(keys); i < count; i++ {
		keys = append(keys, fmt.Sprintf("user:%07d", i))
	}
}

// One round's figures.
type round struct {
	calls      int
	executions int64
	elapsed    time.Duration
	mallocs    uint64
	bytes      uint64
	held       uint64
}

func heap() runtime.MemStats {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m
}

func (r *round) measure(counting bool, calls int, body func()) {
	r.calls = calls
	runtime.GC()
	if counting {
		before := heap()
		body()
		after := heap()
		r.mallocs, r.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
		return
	}
	start := time.Now()
	body()
	r.elapsed = time.Since(start)
}

func check(what string, is, want int64) {
	if is != want {
		panic(fmt.Sprintf("%s: %d instead of %d", what, is, want))
	}
}

func miss(r *round, counting bool, calls int) {
	var g singleflight.Group
	var executions, sum int64
	task := func() (interface{}, error) { executions++; return 1, nil }
	pass := func(n int) {
		for i := 0; i < n; i++ {
			v, _, _ := g.Do(keys[i%distinct], task)
			sum += int64(v.(int))
		}
	}
	pass(distinct)
	executions, sum = 0, 0
	r.measure(counting, calls, func() { pass(calls) })
	check("sum", sum, int64(calls))
	check("executions", executions, int64(calls))
	r.executions = executions
}

func missChan(r *round, counting bool, calls int) {
	var g singleflight.Group
	var executions, sum int64
	task := func() (interface{}, error) { executions++; return 1, nil }
	r.measure(counting, calls, func() {
		for i := 0; i < calls; i++ {
			v := <-g.DoChan(keys[i%distinct], task)
			sum += int64(v.Val.(int))
		}
	})
	check("sum", sum, int64(calls))
	r.executions = executions
}

// A goroutine for each caller; the task returns when all have called.
func join(r *round, counting bool, count int) {
	pass := func() {
		var g singleflight.Group
		var executions, sum int64
		open := make(chan struct{})
		task := func() (interface{}, error) { executions++; <-open; return 1, nil }
		var called, done sync.WaitGroup
		called.Add(count)
		done.Add(count)
		for i := 0; i < count; i++ {
			go func() {
				called.Done()
				v, _, _ := g.Do("user:42", task)
				atomic.AddInt64(&sum, int64(v.(int)))
				done.Done()
			}()
		}
		called.Wait()
		runtime.Gosched()
		close(open)
		done.Wait()
		check("sum", sum, int64(count))
		r.executions = executions // a goroutine that came too late led another one
	}
	pass()
	r.measure(counting, count, pass)
}

func joinChan(r *round, counting bool, count int) {
	pass := func() {
		var g singleflight.Group
		var executions, sum int64
		open := make(chan struct{})
		task := func() (interface{}, error) { executions++; <-open; return 1, nil }
		results := make([]<-chan singleflight.Result, count)
		for i := range results {
			results[i] = g.DoChan("user:42", task)
		}
		close(open)
		for _, c := range results {
			sum += int64((<-c).Val.(int))
		}
		check("sum", sum, int64(count))
		check("executions", executions, 1)
		r.executions = executions
	}
	pass()
	r.measure(counting, count, pass)
}

func inFlight(r *round, counting bool, count int) {
	var executions, sum int64
	r.measure(counting, count, func() {
		var before runtime.MemStats
		if counting {
			before = heap()
		}
		var g singleflight.Group
		open := make(chan struct{})
		task := func() (interface{}, error) { atomic.AddInt64(&executions, 1); <-open; return 1, nil }
		results := make([]<-chan singleflight.Result, count)
		for i := range results {
			results[i] = g.DoChan(keys[i], task)
		}
		if counting {
			after := heap()
			r.held = after.HeapInuse + after.StackInuse - before.HeapInuse - before.StackInuse
		}
		close(open)
		for _, c := range results {
			sum += int64((<-c).Val.(int))
		}
	})
	check("sum", sum, int64(count))
	check("executions", executions, int64(count))
	r.executions = executions
}

func threads(r *round, count, calls, distinctKeys int) {
	var g singleflight.Group
	var executions, sum int64
	runtime.GOMAXPROCS(count)
	defer runtime.GOMAXPROCS(runtime.NumCPU())
	var done sync.WaitGroup
	begin := make(chan struct{})
	for t := 0; t < count; t++ {
		done.Add(1)
		seed := uint64(t + 1)
		order := make([]int32, calls/count)
		for i := range order {
			seed = seed * 48271 % 2147483647
			order[i] = int32(seed % uint64(distinctKeys))
		}
		go func() {
			defer done.Done()
			var ran, local int64
			task := func() (interface{}, error) { ran++; return 1, nil }
			<-begin
			for _, i := range order {
				v, _, _ := g.Do(keys[i], task)
				local += int64(v.(int))
			}
			atomic.AddInt64(&executions, ran)
			atomic.AddInt64(&sum, local)
		}()
	}
	r.measure(false, calls/count*count, func() {
		close(begin)
		done.Wait()
	})
	check("sum", sum, int64(calls/count*count))
	r.executions = executions
}

type scenario struct {
	group, name, floor string
	heap               bool
	run                func(r *round, counting bool)
}

func main() {
	flag.Parse()
	calls, largest := 50000, 100000
	if *quick {
		calls = 20000
	}
	makeKeys(largest)
	const do, doChan = "Go x/sync Do", "Go x/sync DoChan"
	const table, coroutine = "floor: table", "floor: coroutine"
	all := []scenario{
		{"miss", do, table, true, func(r *round, c bool) { miss(r, c, calls) }},
		{"miss", doChan, table, true, func(r *round, c bool) { missChan(r, c, calls) }},
		{"coroutine miss", do, coroutine, true, func(r *round, c bool) { miss(r, c, calls) }},
		{"coroutine join, 1,000 waiters", do + " (a goroutine each)", coroutine, true, func(r *round, c bool) { join(r, c, 1000) }},
		{"coroutine join, 1,000 waiters", doChan, coroutine, true, func(r *round, c bool) { joinChan(r, c, 1000) }},
		{"coroutine join, 100,000 waiters", do + " (a goroutine each)", coroutine, true, func(r *round, c bool) { join(r, c, 100000) }},
		{"coroutine join, 100,000 waiters", doChan, coroutine, true, func(r *round, c bool) { joinChan(r, c, 100000) }},
		{"100,000 keys in flight", doChan, table, true, func(r *round, c bool) { inFlight(r, c, 100000) }},
	}
	threadCalls := 1000000
	if *quick {
		threadCalls = 100000
	}
	for _, n := range []int{2, 1} {
		count := n
		text := "1 thread, "
		if count == 2 {
			text = "2 threads, "
		}
		all = append(all,
			scenario{text + "1,024 random keys", do, "floor: one lock", false, func(r *round, _ bool) { threads(r, count, threadCalls, 1024) }},
			scenario{text + "one hot key", do, "floor: one lock", false, func(r *round, _ bool) { threads(r, count, threadCalls, 1) }})
	}
	wanted := regexp.MustCompile("(?i)" + *only)
	var chosen []scenario
	for _, s := range all {
		if wanted.MatchString(s.group + " / " + s.name) {
			chosen = append(chosen, s)
			fmt.Printf("row\t%s\t%s\tpeer\t%s\n", s.group, s.name, s.floor)
		}
	}
	right := true
	one := func(s scenario, counting bool) {
		defer func() {
			if failed := recover(); failed != nil {
				fmt.Printf("wrong\t%s\t%s\t%v\n", s.group, s.name, failed)
				right = false
			}
		}()
		var r round
		s.run(&r, counting)
		if !counting {
			fmt.Printf("time\t%s\t%s\t%.3f\t%d\t%d\n", s.group, s.name, float64(r.elapsed.Nanoseconds())/float64(r.calls), r.calls, r.executions)
			return
		}
		fmt.Printf("heap\t%s\t%s\t%.4f\t%.2f\n", s.group, s.name, float64(r.mallocs)/float64(r.calls), float64(r.bytes)/float64(r.calls))
		if r.held != 0 {
			fmt.Printf("peak\t%s\t%s\t%.2f\n", s.group, s.name, float64(r.held)/float64(r.calls))
		}
	}
	for _, s := range chosen {
		if s.heap {
			one(s, true)
		}
	}
	for i := 0; i < *rounds; i++ {
		for _, s := range chosen {
			until := time.Now().Add(20 * time.Millisecond)
			for i := 0; i < 10 && (i == 0 || time.Now().Before(until)); i++ {
				one(s, false)
			}
		}
	}
	if !right {
		os.Exit(1)
	}
}
