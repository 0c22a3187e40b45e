package main

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// idleFactor is how many idle Rollouts there are for one that is updated at once: 10,000 by default.
const idleFactor = 10

// idle measures many Rollouts that nobody changes: what is written of them, and what they cost.
func idle(ctx context.Context, o options) error {
	peer, err := buildPeer(ctx, o)
	if err != nil {
		return err
	}
	n := o.rollouts * idleFactor
	fmt.Printf("idle: %d Rollouts of no replicas, that nobody changes; the controller is a process of its own\n", n)
	ours, err := idleRollouts(ctx, o, "fairway", ourProgram(o), n)
	if err != nil {
		return err
	}
	theirs, err := idleRollouts(ctx, o, "Argo Rollouts", peer, n)
	if err != nil {
		return err
	}
	row("resident, fairway ÷ Argo Rollouts", "×", ours/theirs)
	return nil
}

// idleRollouts makes n Rollouts, watches them for a minute, and returns the resident memory of the controller in MB.
func idleRollouts(ctx context.Context, o options, name, program string, n int) (float64, error) {
	f, err := openField(ctx, o, program, 1)
	if err != nil {
		return 0, err
	}
	defer f.stop()
	controller := f.processes[len(f.processes)-1]
	all := f.any.Resource(rolloutsResource).Namespace("default")
	empty, began := controller.memory(), time.Now()
	err = each(n, func(i int) error {
		_, err := all.Create(ctx, simpleRollout(fmt.Sprintf("web-%d", i), 0), metav1.CreateOptions{})
		return err
	})
	if err == nil {
		err = f.settled(ctx, n, "img:v1")
	}
	if err != nil {
		return 0, err
	}
	row(name+": created, to all Healthy", "s", time.Since(began).Seconds())
	const settle, watched = 20 * time.Second, time.Minute
	time.Sleep(settle)
	before, err := f.controllerWrites(ctx)
	if err != nil {
		return 0, err
	}
	cpu := controller.cpu()
	time.Sleep(watched)
	after, err := f.controllerWrites(ctx)
	used, held := controller.cpu()-cpu, controller.memory()
	row(name+": writes", "a minute", after-before)
	row(name+": one core, controller", "%", used/watched.Seconds()*100)
	row(name+": resident controller before there were any", "MB", empty)
	row(name+": resident controller", "MB", held)
	return held, err
}
