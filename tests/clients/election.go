package main

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// How long a lease lasts without renewal: longer than a busy machine may stall a candidate.
const (
	leaseDuration = 6 * time.Second
	renewDeadline = 5 * time.Second
	retryPeriod   = 200 * time.Millisecond
)

func electionChecks() []check {
	return []check{
		{name: "election/release", run: func(t *trial) { elect(t, true) }},
		{name: "election/expiry", run: func(t *trial) { elect(t, false) }},
	}
}

// candidate takes part in an election.
type candidate struct {
	elector *leaderelection.LeaderElector
	stop    context.CancelFunc
	ended   chan struct{}
}

func (t *trial) candidate(name string, leaders *atomic.Int32, release bool) *candidate {
	lock := &resourcelock.LeaseLock{
		LeaseMeta:  metav1.ObjectMeta{Name: "election", Namespace: t.namespace},
		Client:     t.typed().CoordinationV1(),
		LockConfig: resourcelock.ResourceLockConfig{Identity: name},
	}
	elector := must(leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock: lock, LeaseDuration: leaseDuration, RenewDeadline: renewDeadline, RetryPeriod: retryPeriod,
		ReleaseOnCancel: release,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) { leaders.Add(1) },
			OnStoppedLeading: func() {},
		},
	}))
	ctx, stop := context.WithCancel(t)
	c := &candidate{elector: elector, stop: stop, ended: make(chan struct{})}
	go func() {
		defer close(c.ended)
		elector.Run(ctx)
	}()
	return c
}

// elect lets two candidates compete; the first ends, with or without giving the lease back, and the second follows.
func elect(t *trial, release bool) {
	var terms atomic.Int32
	leases := t.typed().CoordinationV1().Leases(t.namespace)
	first := t.candidate("first", &terms, release)
	t.within(func() error { return differs("the first leads", true, first.elector.IsLeader()) })
	second := t.candidate("second", &terms, release)
	// The second has seen the first's lease, and the first has renewed it since.
	t.within(func() error { return differs("leader, as the second sees it", "first", second.elector.GetLeader()) })
	seen := must(leases.Get(t, "election", metav1.GetOptions{}))
	t.within(func() error {
		now := must(leases.Get(t, "election", metav1.GetOptions{}))
		return differs("the first renews", true, now.Spec.RenewTime.After(seen.Spec.RenewTime.Time))
	})
	expect("the second leads", false, second.elector.IsLeader())
	expect("terms so far", int32(1), terms.Load())

	first.stop()
	<-first.ended
	stopped := time.Now()
	left := must(leases.Get(t, "election", metav1.GetOptions{}))
	t.within(func() error { return differs("the second leads", true, second.elector.IsLeader()) })
	took := time.Since(stopped)
	t.within(func() error { return differs("terms", int32(2), terms.Load()) })
	lease := must(leases.Get(t, "election", metav1.GetOptions{}))
	if release {
		expectTrue("a hand-over before the lease expires", took < leaseDuration, took)
		expect("the first leads", false, first.elector.IsLeader())
	} else {
		expect("holder after the first has ended", "first", *left.Spec.HolderIdentity)
		since := lease.Spec.AcquireTime.Sub(left.Spec.RenewTime.Time)
		// client-go notices renewals by times in whole seconds.
		expectTrue("no hand-over before the lease has expired", since > leaseDuration-time.Second, since)
	}
	expect("holder", "second", *lease.Spec.HolderIdentity)
	expect("transitions", int32(1), *lease.Spec.LeaseTransitions)
	expect("duration", fmt.Sprint(leaseDuration.Seconds()), fmt.Sprint(*lease.Spec.LeaseDurationSeconds))
	second.stop()
	<-second.ended
	if release {
		lease = must(leases.Get(t, "election", metav1.GetOptions{}))
		expect("holder after the release", "", *lease.Spec.HolderIdentity)
	}
}
