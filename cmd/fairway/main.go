// Command fairway ships, scales, guards and heals what runs on Kubernetes, and rehearses changes first.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/fairway-dev/fairway/internal/cli"
)

// killed is the exit code of a second signal: 128 + SIGINT, as a shell reports it.
const killed = 130

func main() {
	ctx, stop := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-signals
		stop() // an orderly end
		<-signals
		os.Exit(killed)
	}()
	run := cli.Run
	if cli.IsPlugin(os.Args[0]) {
		run = cli.RunPlugin
	}
	os.Exit(run(ctx, os.Args[1:], cli.Streams{In: os.Stdin, Out: os.Stdout, Err: os.Stderr}))
}
