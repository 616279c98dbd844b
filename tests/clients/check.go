package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/features"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// How often a condition is looked at again.
const lookEvery = 25 * time.Millisecond

// check is one thing that a server must get right.
type check struct {
	name string
	// watchList turns on client-go's WatchListClient feature for the reflectors that the check starts.
	watchList bool
	run       func(t *trial)
}

// trial is one run of a check: its namespace, and a configuration whose requests are recorded.
type trial struct {
	context.Context
	config    *rest.Config
	requests  *recorder
	namespace string
	cleanups  []func(context.Context)
}

// typed returns a client-go client with the content type that client-go chooses by itself.
func (t *trial) typed() *kubernetes.Clientset {
	return must(kubernetes.NewForConfig(t.config))
}

// generic returns a controller-runtime client without a cache.
func (t *trial) generic() client.WithWatch {
	return must(client.NewWithWatch(t.config, client.Options{}))
}

// cleanup runs f when the check has ended, the last one first.
func (t *trial) cleanup(f func(context.Context)) {
	t.cleanups = append(t.cleanups, f)
}

// within waits until condition returns nil.
func (t *trial) within(condition func() error) {
	var last error
	err := wait.PollUntilContextCancel(t, lookEvery, true, func(context.Context) (bool, error) {
		now := condition()
		// What was wrong before the time was up says more than that it was up.
		if t.Err() == nil || last == nil {
			last = now
		}
		return now == nil, nil
	})
	if err != nil {
		fail(fmt.Sprintf("expected in time, but: %v", last))
	}
}

// failure ends a check.
type failure struct {
	message string
}

func fail(message string) {
	panic(failure{at(2) + message})
}

// at names the nearest caller outside of this file.
func at(skip int) string {
	_, own, _, _ := runtime.Caller(0)
	for ; ; skip++ {
		_, file, line, ok := runtime.Caller(skip)
		if !ok {
			return ""
		}
		if file != own {
			return fmt.Sprintf("%s:%d: ", filepath.Base(file), line)
		}
	}
}

// must ends the check if there was an error.
func must[V any](value V, err error) V {
	done(err)
	return value
}

// done ends the check if there was an error.
func done(err error) {
	if err != nil {
		fail("expected success, got " + err.Error())
	}
}

// expect ends the check unless got is wanted.
func expect[V comparable](what string, want, got V) {
	if err := differs(what, want, got); err != nil {
		fail(err.Error())
	}
}

// expectTrue ends the check unless what holds.
func expectTrue(what string, holds bool, came any) {
	if !holds {
		fail(fmt.Sprintf("expected %s, got %v", what, came))
	}
}

// refused ends the check unless the error is of the given reason, e.g. Conflict.
func refused(reason metav1.StatusReason, err error) {
	if got := apierrors.ReasonForError(err); got != reason {
		fail(fmt.Sprintf("expected a refusal with reason %s, got %q (%v)", reason, got, err))
	}
}

// differs says how got is not wanted.
func differs[V comparable](what string, want, got V) error {
	if want != got {
		return fmt.Errorf("%s: expected %v, got %v", what, want, got)
	}
	return nil
}

// runner runs checks one after the other: client-go's features are switched for the whole process.
type runner struct {
	config     *rest.Config
	limit      time.Duration
	watchList  *watchListGate
	namespaces []string
}

func newRunner(config *rest.Config, limit time.Duration) *runner {
	gate := &watchListGate{Gates: features.FeatureGates()}
	features.ReplaceFeatureGates(gate)
	return &runner{config: config, limit: limit, watchList: gate}
}

// runAll runs the checks and says whether all went well.
func (r *runner) runAll(ctx context.Context, checks []check) bool {
	good := true
	report := func(name string, begun time.Time, err error) {
		if err != nil {
			good = false
			fmt.Printf("FAIL %s: %v\n", name, err)
			return
		}
		fmt.Printf("ok %s %.2fs\n", name, time.Since(begun).Seconds())
	}
	for _, c := range checks {
		if ctx.Err() != nil {
			break
		}
		begun := time.Now()
		report(c.name, begun, r.run(ctx, c))
	}
	// Namespaces go even if the user has lost patience.
	begun := time.Now()
	report("cleanup/namespaces-end", begun, r.awaitNamespaces(context.WithoutCancel(ctx)))
	return good && ctx.Err() == nil
}

func (r *runner) run(ctx context.Context, c check) error {
	r.watchList.on.Store(c.watchList)
	plain, err := kubernetes.NewForConfig(r.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	namespaces := plain.CoreV1().Namespaces()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clients-"}}
	namespace, err = namespaces.Create(ctx, namespace, metav1.CreateOptions{})
	if err != nil {
		return fmt.Errorf("a namespace: %w", err)
	}
	r.namespaces = append(r.namespaces, namespace.Name)

	requests := &recorder{}
	config := rest.CopyConfig(r.config)
	config.Wrap(requests.wrap)
	t := &trial{Context: ctx, config: config, requests: requests, namespace: namespace.Name}
	err = t.try(c.run)

	// What a check made is removed even when its time is up.
	ctx, cancel = context.WithTimeout(context.WithoutCancel(ctx), r.limit)
	defer cancel()
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i](ctx)
	}
	return errors.Join(err, namespaces.Delete(ctx, namespace.Name, metav1.DeleteOptions{}))
}

// try runs a check to its end or its first failure.
func (t *trial) try(run func(*trial)) (err error) {
	ctx, cancel := context.WithCancel(t.Context)
	defer cancel()
	defer func() {
		switch problem := recover().(type) {
		case nil:
		case failure:
			err = errors.New(problem.message)
		default:
			panic(problem)
		}
	}()
	t.Context = ctx
	run(t)
	return nil
}

// awaitNamespaces waits until the namespaces of all checks are gone, with all that was in them.
func (r *runner) awaitNamespaces(ctx context.Context) error {
	plain, err := kubernetes.NewForConfig(r.config)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.limit)
	defer cancel()
	for _, name := range r.namespaces {
		var last string
		err := wait.PollUntilContextCancel(ctx, lookEvery, true, func(ctx context.Context) (bool, error) {
			found, err := plain.CoreV1().Namespaces().Get(ctx, name, metav1.GetOptions{})
			switch {
			case err == nil:
				last = fmt.Sprintf("it is %v", found.Status)
			case ctx.Err() == nil:
				last = err.Error()
			}
			return apierrors.IsNotFound(err), nil
		})
		if err != nil {
			return fmt.Errorf("expected namespace %s to end, but: %s", name, last)
		}
	}
	return nil
}

// watchListGate is client-go's feature gates, with a switch.
type watchListGate struct {
	features.Gates
	on atomic.Bool
}

// Enabled says whether a feature is on.
func (g *watchListGate) Enabled(feature features.Feature) bool {
	if feature == features.WatchListClient {
		return g.on.Load()
	}
	return g.Gates.Enabled(feature)
}
