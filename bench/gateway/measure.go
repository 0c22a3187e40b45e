package main

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// run starts a program that ends with this one.
func run(started *[]*exec.Cmd, log, program string, args ...string) (*exec.Cmd, error) {
	f, err := os.Create(log)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := exec.Command(program, args...)
	c.Stdout, c.Stderr = f, f
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := c.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", program, err)
	}
	*started = append(*started, c)
	return c, nil
}

// end asks a process to end, and waits.
func end(c *exec.Cmd) {
	_ = c.Process.Signal(syscall.SIGTERM)
	kill := time.AfterFunc(patience, func() { _ = c.Process.Kill() })
	defer kill.Stop()
	if err := c.Wait(); err != nil && filepath.Base(c.Path) != "nginx" {
		fmt.Fprintln(os.Stderr, "the gateway ended with", err)
	}
}

func askOnce(address string) error {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + address + "/")
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if b, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != 200 || len(b) != 100 {
		return fmt.Errorf("status %d, %d bytes, %v", resp.StatusCode, len(b), err)
	}
	return nil
}

// measure loads the proxy for a round.
func (p *measured) measure(connections, seconds int) error {
	before := cpu(p.process.Pid)
	out, err := exec.Command("wrk", "-t1", "-c"+strconv.Itoa(connections), "-d"+strconv.Itoa(seconds)+"s", "--latency", "http://"+p.address+"/").CombinedOutput()
	if err != nil {
		return fmt.Errorf("wrk: %w: %s", err, out)
	}
	used := cpu(p.process.Pid) - before
	requests, failed := 0.0, ""
	for _, line := range strings.Split(string(out), "\n") {
		f := strings.Fields(line)
		if len(f) > 3 && f[1] == "requests" && f[2] == "in" {
			requests, _ = strconv.ParseFloat(f[0], 64)
		}
		if strings.Contains(line, "Non-2xx") || strings.Contains(line, "Socket errors") {
			failed = strings.TrimSpace(line)
		}
	}
	if requests == 0 || failed != "" {
		return fmt.Errorf("%s: wrk made %.0f requests; %s", p.name, requests, failed)
	}
	p.cost = append(p.cost, used.Seconds()*1e6/requests)
	p.rate = append(p.rate, requests/float64(seconds))
	return nil
}

// ticks of /proc a second: USER_HZ, which is 100 on all Linux.
const ticks = 100

// cpu is the CPU time that a process and its children have used.
func cpu(pid int) (used time.Duration) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	_, after, _ := strings.Cut(string(b), ") ")
	f := strings.Fields(after)
	user, _ := strconv.ParseInt(f[11], 10, 64)
	system, _ := strconv.ParseInt(f[12], 10, 64)
	used = time.Duration(user+system) * time.Second / ticks
	for _, child := range children(pid) {
		used += cpu(child)
	}
	return used
}

func children(pid int) (all []int) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%[1]d/task/%[1]d/children", pid))
	for _, f := range strings.Fields(string(b)) {
		if n, err := strconv.Atoi(f); err == nil {
			all = append(all, n)
		}
	}
	return all
}

// rss is the memory of a process and its children, in bytes.
func rss(pid int) (sum int64) {
	b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if f := strings.Fields(string(b)); len(f) > 1 {
		pages, _ := strconv.ParseInt(f[1], 10, 64)
		sum = pages * int64(os.Getpagesize())
	}
	for _, child := range children(pid) {
		sum += rss(child)
	}
	return sum
}

// manyConnections is how many there are when memory is looked at.
const manyConnections = 1000

// memory prints what 1,000 connections, each of which has asked once, add to each proxy's memory.
func memory(proxies []*measured) error {
	for _, p := range proxies {
		var open []net.Conn
		for range manyConnections {
			nc, err := net.Dial("tcp", p.address)
			if err != nil {
				return err
			}
			open = append(open, nc)
			if _, err := io.WriteString(nc, "GET / HTTP/1.1\r\nHost: bench\r\n\r\n"); err != nil {
				return err
			}
		}
		b := make([]byte, 4096)
		for _, nc := range open {
			if _, err := nc.Read(b); err != nil {
				return err
			}
		}
		fmt.Printf("%-10s memory %d MB; with %d connections (after the load) %d MB\n", p.name, p.idleRSS>>20, manyConnections, rss(p.process.Pid)>>20)
		for _, nc := range open {
			_ = nc.Close()
		}
	}
	return nil
}
