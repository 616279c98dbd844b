package main

import (
	"context"
	"fmt"
	"slices"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
)

func managerChecks() []check {
	return []check{
		{name: "manager/owns-children", run: func(t *trial) {
			manageChildren(t)
			t.expectCachesFilled(1, "")
		}},
		{name: "manager/owns-children-with-watch-list", watchList: true, run: func(t *trial) {
			manageChildren(t)
			t.expectCachesFilled(0, "true")
		}},
		{name: "manager/finalizer-and-garbage-collection", run: manageEnd},
		{name: "manager/leader-election", run: manageInTurns},
	}
}

// running is a manager with its reconciler.
type running struct {
	manager ctrl.Manager
	stop    context.CancelFunc
	ended   chan error
}

// manage starts a manager that works on the namespace of this check once it leads.
func (t *trial) manage(identity string) *running {
	lease, renew, retry := leaseDuration, renewDeadline, retryPeriod
	manager := must(ctrl.NewManager(t.config, ctrl.Options{
		LeaderElection:                true,
		LeaderElectionNamespace:       t.namespace,
		LeaderElectionID:              "manager.clients.pitstop.io",
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 &lease,
		RenewDeadline:                 &renew,
		RetryPeriod:                   &retry,
		Cache:                         cache.Options{DefaultNamespaces: map[string]cache.Config{t.namespace: {}}},
		Metrics:                       metricsserver.Options{BindAddress: "0"},
	}))
	done((&reconciler{
		Client:   manager.GetClient(),
		recorder: manager.GetEventRecorderFor("clients"),
		scheme:   manager.GetScheme(),
		identity: identity,
		pod:      t.pod,
	}).setUp(manager))
	ctx, stop := context.WithCancel(t)
	r := &running{manager: manager, stop: stop, ended: make(chan error, 1)}
	go func() { r.ended <- manager.Start(ctx) }()
	return r
}

// end stops a manager and waits until it has ended.
func (r *running) end() {
	r.stop()
	done(<-r.ended)
}

// reconciled waits until the pod of a ConfigMap was told of its content.
func (t *trial) reconciled(name, content string) *corev1.Pod {
	pods := t.typed().CoreV1().Pods(t.namespace)
	var pod *corev1.Pod
	t.within(func() error {
		found, err := pods.Get(t, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		pod = found
		at := slices.IndexFunc(found.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == configured })
		if at < 0 {
			return fmt.Errorf("pod %s has no condition %s: %v", name, configured, found.Status.Conditions)
		}
		return differs("the content that the pod was told of", content, found.Status.Conditions[at].Message)
	})
	return pod
}

func manageChildren(t *trial) {
	t.admitsPods()
	before := create(t, t.configMap("before"))
	manager := t.manage("only")
	t.reconciled("before", "value")
	owner := create(t, t.configMap("owner"))
	pod := t.reconciled("owner", "value")
	expectTrue("a controller reference", metav1.IsControlledBy(pod, owner), pod.OwnerReferences)
	done(t.generic().Patch(t, owner, client.RawPatch(mergePatch, []byte(`{"data":{"key":"changed"}}`))))
	t.reconciled("owner", "changed")

	// A child that is deleted comes back.
	done(t.generic().Delete(t, pod))
	t.within(func() error {
		again, err := t.typed().CoreV1().Pods(t.namespace).Get(t, "owner", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return differs("a new pod", true, again.UID != pod.UID)
	})
	t.reconciled("owner", "changed")
	t.within(func() error {
		options := metav1.ListOptions{FieldSelector: "reason=Created,involvedObject.uid=" + string(owner.UID)}
		found := must(t.typed().CoreV1().Events(t.namespace).List(t, options)).Items
		if len(found) != 1 {
			return differs("events of kind Created", 1, len(found))
		}
		return differs("count of the event", int32(2), found[0].Count)
	})
	t.release(manager, before, owner)
}

// expectCachesFilled ends the check unless the manager has read what it works on by so many LIST requests each, and by
// watches that ask for initial events as given.
func (t *trial) expectCachesFilled(lists int, initialEvents string) {
	for _, resource := range []string{"configmaps", "pods"} {
		expect("LIST requests for "+resource, lists, len(t.requests.lists(resource)))
		watches := t.requests.watches(resource)
		expectTrue("a WATCH request for "+resource, len(watches) > 0, len(watches))
		expect("sendInitialEvents for "+resource, initialEvents, watches[0].query.Get("sendInitialEvents"))
	}
}

func (t *trial) managerLease() *coordinationv1.Lease {
	return must(t.typed().CoordinationV1().Leases(t.namespace).Get(t, "manager.clients.pitstop.io", metav1.GetOptions{}))
}

// release lets the manager remove its finalizers, and ends it.
func (t *trial) release(manager *running, owners ...*corev1.ConfigMap) {
	for _, owner := range owners {
		done(t.generic().Delete(t, owner))
		t.gone(owner)
	}
	// A renewal that is cut off when the manager ends may be carried out nevertheless, and then refuses the release: the
	// manager ends right after one, when none is on its way.
	before := t.managerLease().Spec.RenewTime
	t.within(func() error {
		return differs("a renewal of the lease", true, !before.Equal(t.managerLease().Spec.RenewTime))
	})
	manager.end()
	lease := t.managerLease()
	expect("holder of the lease after the end", "", *lease.Spec.HolderIdentity)
}

func manageEnd(t *trial) {
	t.admitsPods()
	manager := t.manage("only")
	owner := create(t, t.configMap("owner"))
	pod := t.reconciled("owner", "value")
	done(t.generic().Get(t, client.ObjectKeyFromObject(owner), owner))
	expect("finalizers", "["+finalizer+"]", fmt.Sprint(owner.Finalizers))
	options := metav1.ListOptions{ResourceVersion: owner.ResourceVersion, FieldSelector: "metadata.name=owner"}
	events := must(t.typed().CoreV1().ConfigMaps(t.namespace).Watch(t, options))
	defer events.Stop()
	done(t.generic().Delete(t, owner))
	expectTrue("a deletionTimestamp first", t.next(events, watch.Modified, "owner").GetDeletionTimestamp() != nil, "none")
	t.next(events, watch.Deleted, "owner")
	t.gone(pod)
	t.within(func() error {
		options := metav1.ListOptions{FieldSelector: "reason=Released,involvedObject.uid=" + string(owner.UID)}
		found := must(t.typed().CoreV1().Events(t.namespace).List(t, options)).Items
		return differs("events of kind Released", 1, len(found))
	})
	t.release(manager)
}

func manageInTurns(t *trial) {
	t.admitsPods()
	first := t.manage("first")
	t.within(func() error { return elected(first, true) })
	second := t.manage("second")
	one := create(t, t.configMap("one"))
	expect("maker", "first", t.reconciled("one", "value").Annotations["made-by"])
	done(elected(second, false))
	first.end()
	two := create(t, t.configMap("two"))
	expect("maker", "second", t.reconciled("two", "value").Annotations["made-by"])
	done(elected(second, true))
	t.release(second, one, two)
}

// elected says how the state of a manager is not as wanted.
func elected(r *running, want bool) error {
	select {
	case <-r.manager.Elected():
		return differs("leading", want, true)
	default:
		return differs("leading", want, false)
	}
}
