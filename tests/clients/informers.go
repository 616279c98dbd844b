package main

import (
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/metadata/metadatainformer"
	"k8s.io/client-go/tools/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// watched is a kind whose informers are tried.
type watched struct {
	resource schema.GroupVersionResource
	object   func(t *trial, name string) client.Object
}

var watchedKinds = []watched{
	{corev1.SchemeGroupVersion.WithResource("pods"), func(t *trial, name string) client.Object { return t.pod(name) }},
	{corev1.SchemeGroupVersion.WithResource("nodes"), func(t *trial, name string) client.Object { return t.node(name) }},
	{daemonSets, func(t *trial, name string) client.Object { return t.daemonSet(name) }},
	{configMaps, func(t *trial, name string) client.Object { return t.configMap(name) }},
}

func informerChecks() []check {
	var checks []check
	for _, kind := range watchedKinds {
		name := kind.resource.Resource
		checks = append(checks,
			check{name: "informers/watch-list/" + name, watchList: true, run: func(t *trial) { informByWatchList(t, kind) }},
			check{name: "informers/list-and-watch/" + name, run: func(t *trial) { informByListing(t, kind) }},
		)
	}
	return append(checks,
		check{name: "informers/dynamic", watchList: true, run: informDynamically},
		check{name: "informers/metadata", watchList: true, run: informOfMetadata},
		check{name: "informers/broken-connection", watchList: true, run: surviveBrokenConnection},
		check{name: "informers/lister-and-indexer", run: lookUp},
	)
}

// informByWatchList proves that the informer was filled by a watch alone.
func informByWatchList(t *trial, kind watched) {
	followed := t.follow(kind, t.sharedInformer(kind))
	followed.live()
	t.expectWatchListOnly(kind)
}

// expectWatchListOnly ends the check unless one watch with initial events was sent, and no LIST.
func (t *trial) expectWatchListOnly(kind watched) {
	resource := kind.resource.Resource
	expect("LIST requests", 0, len(t.requests.lists(resource)))
	watches := t.requests.watches(resource)
	expect("WATCH requests", 1, len(watches))
	expect("sendInitialEvents", "true", watches[0].query.Get("sendInitialEvents"))
	expect("resourceVersionMatch", "NotOlderThan", watches[0].query.Get("resourceVersionMatch"))
	expect("marks that end the initial events", 1, watches[0].body.marked())
}

func informByListing(t *trial, kind watched) {
	followed := t.follow(kind, t.sharedInformer(kind))
	followed.live()
	resource := kind.resource.Resource
	lists, watches := t.requests.lists(resource), t.requests.watches(resource)
	expect("LIST requests", 1, len(lists))
	expect("resourceVersion of the LIST", "0", lists[0].query.Get("resourceVersion"))
	expect("WATCH requests", 1, len(watches))
	expectTrue("a WATCH from the resourceVersion of the list", watches[0].query.Get("resourceVersion") != "", watches[0].query)
	expect("sendInitialEvents", "", watches[0].query.Get("sendInitialEvents"))
	expect("marks that end the initial events", 0, watches[0].body.marked())
}

// only restricts an informer to the objects of this check.
func (t *trial) only(options *metav1.ListOptions) {
	options.LabelSelector = t.selector()
}

func (t *trial) sharedInformer(kind watched) func() cache.SharedIndexInformer {
	return func() cache.SharedIndexInformer {
		factory := informers.NewSharedInformerFactoryWithOptions(t.typed(), 0, informers.WithTweakListOptions(t.only))
		informer := must(factory.ForResource(kind.resource)).Informer()
		factory.Start(t.Done())
		return informer
	}
}

// followed is an informer whose notifications are noted.
type followed struct {
	t        *trial
	kind     watched
	informer cache.SharedIndexInformer
	mu       sync.Mutex
	noted    []string
}

// follow makes two objects, starts an informer and waits until it knows both.
func (t *trial) follow(kind watched, start func() cache.SharedIndexInformer) *followed {
	t.admitsPods()
	for _, name := range []string{"a", "b"} {
		create(t, kind.object(t, name))
	}
	// What a server answers from its cache may be a moment old.
	bare := must(metadata.NewForConfig(t.config)).Resource(kind.resource)
	t.within(func() error {
		cached := must(bare.List(t, metav1.ListOptions{LabelSelector: t.selector(), ResourceVersion: "0"}))
		return differs("objects in the server's cache", 2, len(cached.Items))
	})
	t.requests.forget()
	f := &followed{t: t, kind: kind, informer: start()}
	registration := must(f.informer.AddEventHandler(cache.ResourceEventHandlerDetailedFuncs{
		AddFunc: func(object any, initial bool) {
			if initial {
				f.note("initial", object)
			} else {
				f.note("add", object)
			}
		},
		UpdateFunc: func(old, object any) {
			if accessor(old).GetLabels()["changed"] != accessor(object).GetLabels()["changed"] {
				f.note("update", object)
			}
		},
		DeleteFunc: func(object any) {
			if last, unsure := object.(cache.DeletedFinalStateUnknown); unsure {
				object = last.Obj
			}
			f.note("delete", object)
		},
	}))
	expect("synced in time", true, cache.WaitForCacheSync(t.Done(), f.informer.HasSynced, registration.HasSynced))
	expect("known objects", 2, len(f.informer.GetStore().List()))
	f.expectNoted("initial a", "initial b")
	return f
}

// live makes, changes and removes an object and waits until the informer has told of it.
func (f *followed) live() {
	generic := f.t.generic()
	object := create(f.t, f.kind.object(f.t, "c"))
	f.expectNoted("add c")
	patch := client.RawPatch(mergePatch, []byte(`{"metadata":{"labels":{"changed":"yes"}}}`))
	done(generic.Patch(f.t, object, patch))
	f.expectNoted("update c")
	done(generic.Delete(f.t, object))
	f.expectNoted("delete c")
	expect("known objects", 2, len(f.informer.GetStore().List()))
}

func (f *followed) note(what string, object any) {
	name := accessor(object).GetName()
	f.mu.Lock()
	defer f.mu.Unlock()
	// Node names carry the namespace.
	f.noted = append(f.noted, what+" "+name[len(name)-1:])
}

// expectNoted waits until exactly these notifications have come since the last call, in any order.
func (f *followed) expectNoted(want ...string) {
	f.t.within(func() error {
		f.mu.Lock()
		defer f.mu.Unlock()
		return differs("notifications", fmt.Sprint(want), fmt.Sprint(slices.Sorted(slices.Values(f.noted))))
	})
	f.mu.Lock()
	defer f.mu.Unlock()
	f.noted = nil
}

func accessor(object any) metav1.Object {
	return must(meta.Accessor(object))
}

func informDynamically(t *trial) {
	kind := watchedKinds[2]
	t.follow(kind, func() cache.SharedIndexInformer {
		client := must(dynamic.NewForConfig(t.config))
		factory := dynamicinformer.NewFilteredDynamicSharedInformerFactory(client, 0, t.namespace, t.only)
		informer := factory.ForResource(kind.resource).Informer()
		factory.Start(t.Done())
		return informer
	}).live()
	t.expectWatchListOnly(kind)
}

func informOfMetadata(t *trial) {
	kind := watchedKinds[0]
	t.follow(kind, func() cache.SharedIndexInformer {
		client := must(metadata.NewForConfig(t.config))
		factory := metadatainformer.NewFilteredSharedInformerFactory(client, 0, t.namespace, t.only)
		informer := factory.ForResource(kind.resource).Informer()
		factory.Start(t.Done())
		return informer
	}).live()
	t.expectWatchListOnly(kind)
}

// surviveBrokenConnection cuts the watch: the informer goes on from where it was, without reading everything again.
func surviveBrokenConnection(t *trial) {
	kind := watchedKinds[3]
	followed := t.follow(kind, t.sharedInformer(kind))
	// client-go calls a watch broken that has ended before anything came.
	followed.live()
	t.requests.cut()
	create(t, t.configMap("d"))
	followed.expectNoted("add d")
	done(t.generic().Delete(t, t.configMap("d")))
	followed.expectNoted("delete d")
	watches := t.requests.watches("configmaps")
	expect("LIST requests", 0, len(t.requests.lists("configmaps")))
	expectTrue("a second watch", len(watches) >= 2, len(watches))
	for _, again := range watches[1:] {
		expect("sendInitialEvents", "", again.query.Get("sendInitialEvents"))
		expectTrue("a resourceVersion to resume from", again.query.Get("resourceVersion") != "", again.query)
	}
}

func lookUp(t *trial) {
	t.admitsPods()
	factory := informers.NewSharedInformerFactoryWithOptions(t.typed(), 0, informers.WithNamespace(t.namespace))
	pods := factory.Core().V1().Pods()
	done(pods.Informer().AddIndexers(cache.Indexers{"image": func(object any) ([]string, error) {
		return []string{object.(*corev1.Pod).Spec.Containers[0].Image}, nil
	}}))
	factory.Start(t.Done())
	factory.WaitForCacheSync(t.Done())
	create(t, t.pod("first"))
	other := t.pod("second")
	other.Spec.Containers[0].Image = "registry.example/other:1"
	create(t, other)
	t.within(func() error {
		listed := must(pods.Lister().Pods(t.namespace).List(labels.Everything()))
		return differs("pods", 2, len(listed))
	})
	found := must(pods.Informer().GetIndexer().ByIndex("image", "registry.example/other:1"))
	expect("pods by image", 1, len(found))
	expect("name", "second", found[0].(*corev1.Pod).Name)
	_, err := pods.Lister().Pods(t.namespace).Get("nosuch")
	refused(metav1.StatusReasonNotFound, err)
}
