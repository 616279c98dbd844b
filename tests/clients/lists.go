package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/pager"
)

func listChecks() []check {
	return []check{
		{name: "lists/paging", run: listInPages},
		{name: "lists/pages-are-one-state", run: listOneState},
		{name: "lists/pager", run: listWithPager},
		{name: "lists/label-selectors", run: listByLabels},
		{name: "lists/field-selectors", run: listByFields},
		{name: "lists/resource-versions", run: listAtVersions},
	}
}

// letters makes five ConfigMaps, a to e.
func (t *trial) letters() {
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		create(t, t.configMap(name))
	}
}

func listInPages(t *trial) {
	t.letters()
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	options := metav1.ListOptions{Limit: 2, FieldSelector: "metadata.name!=kube-root-ca.crt", LabelSelector: t.selector()}
	var pages []string
	versions := map[string]bool{}
	for {
		page := must(configMaps.List(t, options))
		pages = append(pages, strings.Join(names(page.Items), ""))
		versions[page.ResourceVersion] = true
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	expect("pages", "[ab cd e]", fmt.Sprint(pages))
	expect("resourceVersions of the pages", 1, len(versions))
}

// listOneState changes what is listed between two pages.
func listOneState(t *trial) {
	t.letters()
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	options := metav1.ListOptions{Limit: 2}
	first := must(configMaps.List(t, options))
	left := first.RemainingItemCount
	expectTrue("a count of what remains", left != nil && *left >= 3, left)
	done(configMaps.Delete(t, "d", metav1.DeleteOptions{}))
	create(t, t.configMap("bb"))
	options.Limit, options.Continue = 0, first.Continue
	rest := must(configMaps.List(t, options))
	expect("resourceVersion", first.ResourceVersion, rest.ResourceVersion)
	var shown []string
	for _, name := range names(rest.Items) {
		if len(name) <= 2 {
			shown = append(shown, name)
		}
	}
	expect("the rest of the list", "[c d e]", fmt.Sprint(shown))
}

func listWithPager(t *trial) {
	t.letters()
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	pages := pager.New(func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return configMaps.List(ctx, options)
	})
	pages.PageSize = 2
	list, paginated, err := pages.List(t, metav1.ListOptions{LabelSelector: t.selector()})
	done(err)
	expect("paginated", true, paginated)
	expect("items", 5, len(must(meta.ExtractList(list))))
	expect("requests", 3, len(t.requests.lists("configmaps")))
}

func listByLabels(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	for name, labels := range map[string]map[string]string{
		"a": {"app": "x", "tier": "1"}, "b": {"app": "y", "tier": "2"}, "c": {"app": "x"}, "d": {"app": ""},
	} {
		object := t.configMap(name)
		for key, value := range labels {
			object.Labels[key] = value
		}
		create(t, object)
	}
	for selector, want := range map[string]string{
		"app=x": "[a c]", "app==x,tier": "[a]", "app!=x": "[b d]", "app in (x,y)": "[a b c]", "app notin (x)": "[b d]",
		"tier": "[a b]", "!tier": "[c d]", "app=": "[d]", "tier>1": "[b]", "tier<2": "[a]", "app in (,y)": "[b d]", "app=z": "[]",
	} {
		list := must(configMaps.List(t, metav1.ListOptions{LabelSelector: t.selector() + "," + selector}))
		expect(selector, want, fmt.Sprint(names(list.Items)))
	}
	_, err := configMaps.List(t, metav1.ListOptions{LabelSelector: "a b"})
	refused(metav1.StatusReasonBadRequest, err)
}

func listByFields(t *trial) {
	client := t.typed().CoreV1()
	node := create(t, t.node("fields"))
	t.createPod(t.pod("waiting"))
	placed := t.pod("placed")
	placed.Spec.NodeName = node.Name
	placed.Spec.RestartPolicy = corev1.RestartPolicyNever
	t.createPod(placed)
	t.cleanup(func(ctx context.Context) {
		_ = client.Pods(t.namespace).Delete(ctx, "placed", *metav1.NewDeleteOptions(0))
	})
	for selector, want := range map[string]string{
		"metadata.name=waiting":                                 "[waiting]",
		"metadata.name!=waiting":                                "[placed]",
		"metadata.namespace=nosuch":                             "[]",
		"spec.nodeName=" + node.Name:                            "[placed]",
		"spec.nodeName=":                                        "[waiting]",
		"status.phase=Pending":                                  "[placed waiting]",
		"status.phase!=Pending":                                 "[]",
		"spec.restartPolicy=Never":                              "[placed]",
		"spec.schedulerName=" + scheduler:                       "[placed waiting]",
		"spec.serviceAccountName==default":                      "[placed waiting]",
		"spec.nodeName!=" + node.Name + ",status.phase!=Failed": "[waiting]",
	} {
		list := must(client.Pods(t.namespace).List(t, metav1.ListOptions{FieldSelector: selector}))
		expect(selector, want, fmt.Sprint(names(list.Items)))
	}
	everywhere := must(client.Pods("").List(t, metav1.ListOptions{FieldSelector: "spec.nodeName=" + node.Name}))
	expect("pods of the node in all namespaces", "[placed]", fmt.Sprint(names(everywhere.Items)))
	_, err := client.Pods(t.namespace).List(t, metav1.ListOptions{FieldSelector: "spec.nosuch=1"})
	refused(metav1.StatusReasonBadRequest, err)
	_, err = client.ConfigMaps(t.namespace).List(t, metav1.ListOptions{FieldSelector: "data.key=value"})
	refused(metav1.StatusReasonBadRequest, err)
}

func listAtVersions(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	first := create(t, t.configMap("a"))
	create(t, t.configMap("b"))
	list := func(version string, match metav1.ResourceVersionMatch) (string, error) {
		options := metav1.ListOptions{LabelSelector: t.selector(), ResourceVersion: version, ResourceVersionMatch: match}
		list, err := configMaps.List(t, options)
		if err != nil {
			return "", err
		}
		return fmt.Sprint(names(list.Items)), nil
	}
	expect("newest", "[a b]", must(list("", "")))
	expect("not older than the first", "[a b]", must(list(first.ResourceVersion, metav1.ResourceVersionMatchNotOlderThan)))
	expect("exactly the first", "[a]", must(list(first.ResourceVersion, metav1.ResourceVersionMatchExact)))
	t.within(func() error {
		return differs("any", "[a b]", must(list("0", "")))
	})
	_, err := list("", metav1.ResourceVersionMatchExact)
	refused(metav1.StatusReasonInvalid, err)
	_, err = list("0", metav1.ResourceVersionMatchExact)
	refused(metav1.StatusReasonInvalid, err)
	future := must(strconv.ParseUint(first.ResourceVersion, 10, 64)) + 1_000_000_000
	// client-go would ask again ten times, as the answer asks it to.
	err = t.typed().CoreV1().RESTClient().Get().Namespace(t.namespace).Resource("configmaps").MaxRetries(0).
		Param("resourceVersion", strconv.FormatUint(future, 10)).Do(t).Error()
	refused(metav1.StatusReasonTimeout, err)
}
