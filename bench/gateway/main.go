// Command gateway compares what a proxied request costs in the gateway's data path and in nginx: CPU time a request, of the
// proxy's processes, from /proc. Each proxy is one worker in processes of its own; rounds are interleaved, for machines are
// noisy; the lowest and the median are printed. All is on loopback, on free ports.
//
//	go run ./bench/gateway [-rounds 5] [-seconds 3] [-connections 64]
package main

import (
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	rounds := flag.Int("rounds", 5, "interleaved `rounds`")
	seconds := flag.Int("seconds", 3, "`length` of a round of one proxy, in seconds")
	connections := flag.Int("connections", 64, "keep-alive `connections` of the load")
	serve := flag.String("serve", "", "serve on this `address` as the measured process (used by the command itself)")
	profile := flag.String("profile", "", "write a CPU profile of the gateway to this `file`")
	backends := flag.String("backends", "", "`addresses` of the backends, with -serve")
	flag.Parse()
	var err error
	if *serve != "" {
		err = serveGateway(*serve, strings.Split(*backends, ","), *profile)
	} else {
		err = compare(*rounds, *seconds, *connections, *profile)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench/gateway:", err)
		os.Exit(1)
	}
}

// measured is something that is measured.
type measured struct {
	name    string
	address string
	process *os.Process
	cost    []float64 // CPU µs a request, a round
	rate    []float64 // requests a second
	idleRSS int64     // bytes
}

func compare(rounds, seconds, connections int, profile string) error {
	for _, program := range []string{"nginx", "wrk"} {
		if _, err := exec.LookPath(program); err != nil {
			return fmt.Errorf("%s is not installed; install it (apt-get install nginx wrk) to compare with nginx", program)
		}
	}
	if runtime.GOOS != "linux" {
		return fmt.Errorf("CPU time is read from /proc, which %s does not have", runtime.GOOS)
	}
	dir, err := os.MkdirTemp("", "fairway-bench-gateway-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	proxies, stop, err := start(dir, profile)
	defer stop()
	if err != nil {
		return err
	}
	for range rounds {
		for _, p := range proxies {
			if err := p.measure(connections, seconds); err != nil {
				return err
			}
		}
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Printf("load average %s", load)
	fmt.Printf("%-10s %12s %12s %12s %12s\n", "", "CPU µs min", "median", "req/s median", "× nginx (min)")
	for _, p := range proxies {
		slices.Sort(p.cost)
		slices.Sort(p.rate)
		fmt.Printf("%-10s %12.2f %12.2f %12.0f %12.2f\n", p.name, p.cost[0], p.cost[len(p.cost)/2], p.rate[len(p.rate)/2], p.cost[0]/lowest(proxies, "nginx"))
	}
	return memory(proxies)
}

func lowest(proxies []*measured, name string) float64 {
	for _, p := range proxies {
		if p.name == name {
			return slices.Min(p.cost)
		}
	}
	return 0
}

// start starts the backend and the proxies; stop ends what was started.
func start(dir, profile string) (proxies []*measured, stop func(), err error) {
	var started []*exec.Cmd
	stop = func() {
		for _, c := range slices.Backward(started) {
			end(c)
		}
	}
	port, err := freePort()
	if err != nil {
		return nil, stop, err
	}
	backends := []string{fmt.Sprintf("127.0.0.1:%d", port), fmt.Sprintf("127.0.0.2:%d", port)}
	nginx := func(name, conf string) (*exec.Cmd, error) {
		return run(&started, filepath.Join(dir, name+".log"), "nginx", "-p", dir, "-e", filepath.Join(dir, name+".err"), "-c", writeConf(dir, name, conf))
	}
	if _, err := nginx("backend", backendConf(dir, backends)); err != nil {
		return nil, stop, err
	}
	if port, err = freePort(); err != nil {
		return nil, stop, err
	}
	theirs := &measured{name: "nginx", address: fmt.Sprintf("127.0.0.1:%d", port)}
	c, err := nginx("proxy", proxyConf(dir, theirs.address, backends))
	if err != nil {
		return nil, stop, err
	}
	theirs.process = c.Process
	if port, err = freePort(); err != nil {
		return nil, stop, err
	}
	ours := &measured{name: "fairway", address: fmt.Sprintf("127.0.0.1:%d", port)}
	self, err := os.Executable()
	if err != nil {
		return nil, stop, err
	}
	c, err = run(&started, filepath.Join(dir, "fairway.log"), self, "-serve", ours.address, "-backends", strings.Join(backends, ","), "-profile", profile)
	if err != nil {
		return nil, stop, err
	}
	ours.process = c.Process
	proxies = []*measured{theirs, ours}
	for _, p := range proxies {
		if err := p.await(); err != nil {
			return nil, stop, err
		}
		p.idleRSS = rss(p.process.Pid)
	}
	return proxies, stop, nil
}

// patience bounds waits for processes.
const patience = 20 * time.Second

// await waits until it answers.
func (p *measured) await() error {
	var err error
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if err = askOnce(p.address); err == nil {
			return nil
		}
	}
	return fmt.Errorf("%s does not answer on %s: %w", p.name, p.address, err)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
