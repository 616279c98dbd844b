package main

import (
	"context"
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	watchtools "k8s.io/client-go/tools/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func watchChecks() []check {
	return []check{
		{name: "watches/resume", run: resumeWatch},
		{name: "watches/retry-watcher", run: retryWatch},
		{name: "watches/selectors", run: watchSelected},
		{name: "watches/from-now", run: watchFromNow},
		{name: "watches/initial-events", run: watchInitialEvents},
		{name: "watches/timeout", run: endWatch},
		{name: "watches/controller-runtime", run: watchGeneric},
	}
}

// next waits for the next event, which must be of this type and object.
func (t *trial) next(events watch.Interface, kind watch.EventType, name string) client.Object {
	select {
	case event, open := <-events.ResultChan():
		if !open {
			fail(fmt.Sprintf("expected %s %s, but the watch has ended", kind, name))
		}
		if event.Type == watch.Error {
			fail(fmt.Sprintf("expected %s %s, got %v", kind, name, apierrors.FromObject(event.Object)))
		}
		object := event.Object.(client.Object)
		expect("event", fmt.Sprint(kind, " ", name), fmt.Sprint(event.Type, " ", object.GetName()))
		return object
	case <-t.Done():
		fail(fmt.Sprintf("expected %s %s in time, got nothing", kind, name))
	}
	return nil
}

// resumeWatch watches from a state in the past: everything since then comes, in order, and each event with the
// resourceVersion of its change.
func resumeWatch(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	start := create(t, t.configMap("start"))
	object := create(t, t.configMap("object"))
	made := object.ResourceVersion
	object.Data["key"] = "changed"
	object = must(configMaps.Update(t, object, metav1.UpdateOptions{}))
	done(configMaps.Delete(t, "object", metav1.DeleteOptions{}))
	options := metav1.ListOptions{ResourceVersion: start.ResourceVersion, LabelSelector: t.selector()}
	events := must(configMaps.Watch(t, options))
	defer events.Stop()
	expect("resourceVersion of the creation", made, t.next(events, watch.Added, "object").GetResourceVersion())
	changed := t.next(events, watch.Modified, "object")
	expect("resourceVersion of the change", object.ResourceVersion, changed.GetResourceVersion())
	deleted := t.next(events, watch.Deleted, "object")
	expectTrue("a resourceVersion of its own for the deletion", newer(deleted, changed), deleted.GetResourceVersion())
	create(t, t.configMap("live"))
	live := t.next(events, watch.Added, "live")
	expectTrue("rising resourceVersions", newer(live, deleted), live.GetResourceVersion())

	// And once more from the deletion.
	options.ResourceVersion = deleted.GetResourceVersion()
	again := must(configMaps.Watch(t, options))
	defer again.Stop()
	t.next(again, watch.Added, "live")
}

func newer(a, b client.Object) bool {
	version := func(o client.Object) uint64 { return must(strconv.ParseUint(o.GetResourceVersion(), 10, 64)) }
	return version(a) > version(b)
}

// retryWatch breaks the connection below client-go's RetryWatcher: nothing is missed, nothing comes twice.
func retryWatch(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	start := create(t, t.configMap("start"))
	source := &cache.ListWatch{WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
		options.LabelSelector = t.selector()
		return configMaps.Watch(ctx, options)
	}}
	events := must(watchtools.NewRetryWatcherWithContext(t, start.ResourceVersion, source))
	defer events.Stop()
	create(t, t.configMap("a"))
	t.next(events, watch.Added, "a")
	t.requests.cut()
	create(t, t.configMap("b"))
	t.next(events, watch.Added, "b")
	done(configMaps.Delete(t, "a", metav1.DeleteOptions{}))
	t.next(events, watch.Deleted, "a")
	expectTrue("a second watch", len(t.requests.watches("configmaps")) >= 2, len(t.requests.watches("configmaps")))
}

// watchSelected lets objects come and go as they begin and cease to match.
func watchSelected(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	object := create(t, t.configMap("object"))
	options := metav1.ListOptions{ResourceVersion: object.ResourceVersion, LabelSelector: "app=x"}
	events := must(configMaps.Watch(t, options))
	defer events.Stop()
	paint := func(app string) {
		patch := fmt.Appendf(nil, `{"metadata":{"labels":{"app":%q}}}`, app)
		object = must(configMaps.Patch(t, "object", mergePatch, patch, metav1.PatchOptions{}))
	}
	paint("x")
	t.next(events, watch.Added, "object")
	paint("y")
	left := t.next(events, watch.Deleted, "object")
	expect("label when it ceased to match", "x", left.GetLabels()["app"])
	expect("resourceVersion of the change", object.ResourceVersion, left.GetResourceVersion())
	paint("x")
	t.next(events, watch.Added, "object")

	options = metav1.ListOptions{ResourceVersion: object.ResourceVersion, FieldSelector: "metadata.name=named"}
	named := must(configMaps.Watch(t, options))
	defer named.Stop()
	create(t, t.configMap("other"))
	create(t, t.configMap("named"))
	t.next(named, watch.Added, "named")
}

// watchFromNow begins without a resourceVersion: with what is there.
func watchFromNow(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	create(t, t.configMap("there"))
	for _, version := range []string{"", "0"} {
		events := must(configMaps.Watch(t, metav1.ListOptions{ResourceVersion: version, LabelSelector: t.selector()}))
		t.next(events, watch.Added, "there")
		events.Stop()
	}
}

func watchInitialEvents(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	create(t, t.configMap("a"))
	create(t, t.configMap("b"))
	options := metav1.ListOptions{
		LabelSelector: t.selector(), SendInitialEvents: ptr(true), AllowWatchBookmarks: true,
		ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan,
	}
	events := must(configMaps.Watch(t, options))
	defer events.Stop()
	t.next(events, watch.Added, "a")
	last := t.next(events, watch.Added, "b")
	mark := t.next(events, watch.Bookmark, "").(*corev1.ConfigMap)
	expect("mark", "true", mark.Annotations[metav1.InitialEventsAnnotationKey])
	expectTrue("a resourceVersion not older than the objects", !newer(last, mark), mark.ResourceVersion)
	done(configMaps.Delete(t, "a", metav1.DeleteOptions{}))
	t.next(events, watch.Deleted, "a")

	options.ResourceVersionMatch = ""
	_, err := configMaps.Watch(t, options)
	refused(metav1.StatusReasonInvalid, err)
}

// endWatch waits until the server ends a watch whose time is up.
func endWatch(t *trial) {
	options := metav1.ListOptions{TimeoutSeconds: ptr[int64](1), LabelSelector: "nosuch"}
	events := must(t.typed().CoreV1().ConfigMaps(t.namespace).Watch(t, options))
	defer events.Stop()
	select {
	case event, open := <-events.ResultChan():
		expectTrue("no event before the end", !open, event)
	case <-t.Done():
		fail("expected the watch to end after a second, but it goes on")
	}
}

func watchGeneric(t *trial) {
	generic := t.generic()
	events := must(generic.Watch(t, &corev1.ConfigMapList{}, client.InNamespace(t.namespace), client.MatchingLabels{label: t.namespace}))
	defer events.Stop()
	object := create(t, t.configMap("object"))
	t.next(events, watch.Added, "object")
	done(generic.Delete(t, object))
	t.next(events, watch.Deleted, "object")
}
