package main

import (
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/restmapper"
)

func discoveryChecks() []check {
	return []check{
		{name: "discovery/version", run: discoverVersion},
		{name: "discovery/aggregated", run: discoverAggregated},
		{name: "discovery/legacy", run: discoverLegacy},
		{name: "discovery/rest-mapper", run: mapResources},
		{name: "discovery/openapi-v3", run: readSchemas},
	}
}

func discoverVersion(t *trial) {
	version := must(t.typed().Discovery().ServerVersion())
	expect("major version", "1", version.Major)
	expectTrue("minor version 34", strings.TrimSuffix(version.Minor, "+") == "34", version.Minor)
	expectTrue("a Git version of 1.34", strings.HasPrefix(version.GitVersion, "v1.34."), version.GitVersion)
}

func discoverAggregated(t *trial) {
	_, resources, err := t.typed().Discovery().ServerGroupsAndResources()
	done(err)
	expectServed(resources)
	sent := t.requests.all(every)
	expect("requests", "[/api /apis]", fmt.Sprint(paths(sent)))
	for _, request := range sent {
		expectTrue("an aggregated answer", strings.Contains(request.answerType, "as=APIGroupDiscoveryList"), request.answerType)
	}
}

func discoverLegacy(t *trial) {
	client := must(discovery.NewDiscoveryClientForConfig(t.config)).WithLegacy()
	_, resources, err := client.ServerGroupsAndResources()
	done(err)
	expectServed(resources)
	sent := paths(t.requests.all(every))
	expectTrue("a request for /apis/apps/v1", slices.Contains(sent, "/apis/apps/v1"), sent)
}

func paths(requests []*request) []string {
	var paths []string
	for _, request := range requests {
		paths = append(paths, request.path)
	}
	slices.Sort(paths)
	return paths
}

// expectServed looks for the kinds that the other checks need, as discovery describes them.
func expectServed(lists []*metav1.APIResourceList) {
	all := "create,delete,deletecollection,get,list,patch,update,watch"
	status := "get,patch,update"
	for _, want := range []struct{ groupVersion, resource, kind, namespaced, verbs string }{
		{"v1", "pods", "Pod", "true", all},
		{"v1", "pods/status", "Pod", "true", status},
		{"v1", "pods/binding", "Binding", "true", "create"},
		{"v1", "nodes", "Node", "false", all},
		{"v1", "nodes/status", "Node", "false", status},
		{"v1", "configmaps", "ConfigMap", "true", all},
		{"v1", "events", "Event", "true", all},
		{"v1", "namespaces", "Namespace", "false", "create,delete,get,list,patch,update,watch"},
		{"v1", "namespaces/finalize", "Namespace", "false", "update"},
		{"apps/v1", "daemonsets", "DaemonSet", "true", all},
		{"apps/v1", "daemonsets/status", "DaemonSet", "true", status},
		{"apps/v1", "controllerrevisions", "ControllerRevision", "true", all},
		{"coordination.k8s.io/v1", "leases", "Lease", "true", all},
		{"events.k8s.io/v1", "events", "Event", "true", all},
	} {
		found := discovery.FilteredBy(discovery.ResourcePredicateFunc(func(groupVersion string, r *metav1.APIResource) bool {
			return groupVersion == want.groupVersion && r.Name == want.resource
		}), lists)
		what := want.groupVersion + " " + want.resource
		expect(what, 1, len(found))
		resource := found[0].APIResources[0]
		verbs := slices.Sorted(slices.Values(resource.Verbs))
		expect("kind of "+what, want.kind, resource.Kind)
		expect("namespaced "+what, want.namespaced, fmt.Sprint(resource.Namespaced))
		expect("verbs of "+what, want.verbs, strings.Join(verbs, ","))
	}
}

func mapResources(t *trial) {
	cached := memory.NewMemCacheClient(t.typed().Discovery())
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(cached)
	short := restmapper.NewShortcutExpander(mapper, cached, nil)
	for name, want := range map[string]string{
		"po": "/v1, Kind=Pod", "no": "/v1, Kind=Node", "cm": "/v1, Kind=ConfigMap", "ns": "/v1, Kind=Namespace",
		"ds": "apps/v1, Kind=DaemonSet", "svc": "/v1, Kind=Service", "sa": "/v1, Kind=ServiceAccount",
		"daemonset": "apps/v1, Kind=DaemonSet", "leases": "coordination.k8s.io/v1, Kind=Lease",
	} {
		kind := must(short.KindFor(schema.GroupVersionResource{Resource: name}))
		expect("kind of "+name, want, kind.String())
	}
	mapping := must(mapper.RESTMapping(schema.GroupKind{Group: "apps", Kind: "DaemonSet"}))
	expect("resource of DaemonSet", "apps/v1, Resource=daemonsets", mapping.Resource.String())
	sent := len(t.requests.all(every))
	must(mapper.RESTMapping(schema.GroupKind{Kind: "Node"}))
	expect("requests for what is known", sent, len(t.requests.all(every)))
	mapper.Reset()
	must(mapper.RESTMapping(schema.GroupKind{Kind: "Node"}))
	expectTrue("new requests after a reset", len(t.requests.all(every)) > sent, sent)
}

func readSchemas(t *trial) {
	paths := must(t.typed().Discovery().OpenAPIV3().Paths())
	for _, want := range []string{"api/v1", "apis/apps/v1", "apis/coordination.k8s.io/v1"} {
		document, found := paths[want]
		expect("a document for "+want, true, found)
		text := must(document.Schema("application/json"))
		expectTrue("paths in the document", strings.Contains(string(text), `"paths"`), len(text))
	}
}
