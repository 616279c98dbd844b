package main

import (
	"encoding/json"
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	jsonPatch      = types.JSONPatchType
	mergePatch     = types.MergePatchType
	strategicPatch = types.StrategicMergePatchType
)

func patchChecks() []check {
	return []check{
		{name: "patches/json", run: patchByOperations},
		{name: "patches/merge", run: patchByMerging},
		{name: "patches/strategic", run: patchStrategically},
		{name: "patches/strategic-directives", run: patchByDirectives},
		{name: "patches/two-way-merge", run: patchTwoWay},
		{name: "patches/preconditions", run: patchConditionally},
		{name: "patches/status", run: patchStatus},
		{name: "patches/controller-runtime", run: patchGeneric},
		{name: "patches/malformed", run: patchBadly},
	}
}

func patchByOperations(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	create(t, t.configMap("subject"))
	patch := []byte(`[
		{"op":"test","path":"/data/key","value":"value"},
		{"op":"add","path":"/metadata/annotations","value":{}},
		{"op":"add","path":"/metadata/annotations/a~1b","value":"slash"},
		{"op":"copy","from":"/data/key","path":"/data/copied"},
		{"op":"move","from":"/data/copied","path":"/data/moved"},
		{"op":"replace","path":"/data/key","value":"replaced"},
		{"op":"add","path":"/metadata/finalizers","value":["clients.pitstop.io/one"]},
		{"op":"add","path":"/metadata/finalizers/-","value":"clients.pitstop.io/two"}
	]`)
	patched := must(client.Patch(t, "subject", jsonPatch, patch, metav1.PatchOptions{}))
	expect("data", "map[key:replaced moved:value]", fmt.Sprint(patched.Data))
	expect("annotations", "map[a/b:slash]", fmt.Sprint(patched.Annotations))
	expect("finalizers", "[clients.pitstop.io/one clients.pitstop.io/two]", fmt.Sprint(patched.Finalizers))
	remove := []byte(`[{"op":"remove","path":"/metadata/finalizers"},{"op":"remove","path":"/data/moved"}]`)
	patched = must(client.Patch(t, "subject", jsonPatch, remove, metav1.PatchOptions{}))
	expect("data", "map[key:replaced]", fmt.Sprint(patched.Data))
	_, err := client.Patch(t, "subject", jsonPatch, []byte(`[{"op":"test","path":"/data/key","value":"other"}]`), metav1.PatchOptions{})
	refused(metav1.StatusReasonInvalid, err)
	_, err = client.Patch(t, "subject", jsonPatch, []byte(`[{"op":"remove","path":"/data/nosuch"}]`), metav1.PatchOptions{})
	refused(metav1.StatusReasonInvalid, err)
}

func patchByMerging(t *trial) {
	client := t.typed().AppsV1().DaemonSets(t.namespace)
	create(t, t.daemonSet("subject"))
	patch := []byte(`{"metadata":{"annotations":{"a":"1","nosuch":null},"labels":{"` + label + `":null}},
		"spec":{"template":{"spec":{"containers":[{"name":"only","image":"registry.example/only:1"}]}}}}`)
	patched := must(client.Patch(t, "subject", mergePatch, patch, metav1.PatchOptions{}))
	expect("annotation", "1", patched.Annotations["a"])
	expect("label", "", patched.Labels[label])
	expect("containers", "[only=registry.example/only:1]", images(patched))
}

// images shows the containers of a DaemonSet, in their order.
func images(set *appsv1.DaemonSet) string {
	var images []string
	for _, container := range set.Spec.Template.Spec.Containers {
		images = append(images, container.Name+"="+container.Image)
	}
	return fmt.Sprint(images)
}

func patchStrategically(t *trial) {
	client := t.typed().AppsV1().DaemonSets(t.namespace)
	create(t, t.daemonSet("subject"))
	patch := []byte(`{"spec":{"template":{"spec":{
		"tolerations":[{"key":"a","operator":"Exists"}],
		"containers":[{"name":"beside","image":"registry.example/beside:2"}]}}}}`)
	patched := must(client.Patch(t, "subject", strategicPatch, patch, metav1.PatchOptions{}))
	expect("containers", "[main=registry.example/main:1 beside=registry.example/beside:2]", images(patched))
	// Tolerations are one value, containers are a list by name.
	patch = []byte(`{"spec":{"template":{"spec":{
		"tolerations":[{"key":"b","operator":"Exists"}],
		"containers":[{"name":"third","image":"registry.example/third:1"}]}}}}`)
	patched = must(client.Patch(t, "subject", strategicPatch, patch, metav1.PatchOptions{}))
	expect("tolerations", 1, len(patched.Spec.Template.Spec.Tolerations))
	expect("toleration", "b", patched.Spec.Template.Spec.Tolerations[0].Key)
	want := "[third=registry.example/third:1 main=registry.example/main:1 beside=registry.example/beside:2]"
	expect("containers, with the new one first", want, images(patched))
}

func patchByDirectives(t *trial) {
	client := t.typed().AppsV1().DaemonSets(t.namespace)
	create(t, t.daemonSet("subject"))
	for _, step := range []struct{ what, patch, want string }{
		{
			"a given order",
			`{"$setElementOrder/containers":[{"name":"beside"},{"name":"main"}],"containers":[{"name":"main","image":"i:2"}]}`,
			"[beside=registry.example/beside:1 main=i:2]",
		},
		{"a removed element", `{"containers":[{"name":"main","$patch":"delete"}]}`, "[beside=registry.example/beside:1]"},
		{"a replaced list", `{"containers":[{"$patch":"replace"},{"name":"new","image":"i:3"}]}`, "[new=i:3]"},
	} {
		patch := []byte(`{"spec":{"template":{"spec":` + step.patch + `}}}`)
		patched := must(client.Patch(t, "subject", strategicPatch, patch, metav1.PatchOptions{}))
		expect("containers after "+step.what, step.want, images(patched))
	}
	one := []byte(`{"metadata":{"finalizers":["clients.pitstop.io/one","clients.pitstop.io/two"]}}`)
	must(client.Patch(t, "subject", strategicPatch, one, metav1.PatchOptions{}))
	two := []byte(`{"metadata":{"$deleteFromPrimitiveList/finalizers":["clients.pitstop.io/one"]}}`)
	patched := must(client.Patch(t, "subject", strategicPatch, two, metav1.PatchOptions{}))
	expect("finalizers", "[clients.pitstop.io/two]", fmt.Sprint(patched.Finalizers))
	must(client.Patch(t, "subject", mergePatch, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}))

	// What a rollback sends: the whole template of a revision.
	template := t.daemonSet("subject").Spec.Template
	data := must(json.Marshal(template))
	whole := []byte(`{"spec":{"template":{"$patch":"replace",` + strings.TrimPrefix(string(data), "{") + `}}`)
	patched = must(client.Patch(t, "subject", strategicPatch, whole, metav1.PatchOptions{}))
	expect("containers after a rollback", "[main=registry.example/main:1 beside=registry.example/beside:1]", images(patched))
}

// patchTwoWay sends what kubectl and controllers compute from two versions of an object.
func patchTwoWay(t *trial) {
	client := t.typed().AppsV1().DaemonSets(t.namespace)
	old := create(t, t.richDaemonSet())
	changed := old.DeepCopy()
	spec := &changed.Spec.Template.Spec
	spec.Containers[0].Env = spec.Containers[0].Env[1:]
	spec.Containers[0].Ports = append(spec.Containers[0].Ports, corev1.ContainerPort{Name: "more", ContainerPort: 9090, Protocol: "TCP"})
	spec.Containers[1].Image = "registry.example/beside:2"
	spec.Volumes = spec.Volumes[:2]
	spec.Containers[0].VolumeMounts = nil
	spec.NodeSelector = map[string]string{label: "elsewhere"}
	patch := must(strategicpatch.CreateTwoWayMergePatch(must(json.Marshal(old)), must(json.Marshal(changed)), appsv1.DaemonSet{}))
	patched := must(client.Patch(t, old.Name, strategicPatch, patch, metav1.PatchOptions{}))
	expect("the template", string(must(json.Marshal(changed.Spec.Template))), string(must(json.Marshal(patched.Spec.Template))))
}

func patchConditionally(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	made := create(t, t.configMap("subject"))
	send := func(metadata string) error {
		patch := fmt.Sprintf(`{"metadata":%s,"data":{"key":"next"}}`, metadata)
		_, err := client.Patch(t, "subject", mergePatch, []byte(patch), metav1.PatchOptions{})
		return err
	}
	refused(metav1.StatusReasonConflict, send(`{"resourceVersion":"1"}`))
	invalid("metadata.uid", send(`{"uid":"other"}`))
	done(send(fmt.Sprintf(`{"resourceVersion":%q,"uid":%q}`, made.ResourceVersion, made.UID)))
	refused(metav1.StatusReasonConflict, send(fmt.Sprintf(`{"resourceVersion":%q}`, made.ResourceVersion)))
	_, err := client.Patch(t, "nosuch", mergePatch, []byte(`{}`), metav1.PatchOptions{})
	refused(metav1.StatusReasonNotFound, err)
}

func patchStatus(t *trial) {
	pods := t.typed().CoreV1().Pods(t.namespace)
	t.createPod(t.pod("subject"))
	condition := func(kind, status string) []byte {
		return fmt.Appendf(nil, `{"status":{"conditions":[{"type":%q,"status":%q}]},"spec":{"priority":7}}`, kind, status)
	}
	send := func(patch []byte) *corev1.Pod {
		return must(pods.Patch(t, "subject", strategicPatch, patch, metav1.PatchOptions{}, "status"))
	}
	send(condition("clients.pitstop.io/A", "True"))
	send(condition("clients.pitstop.io/B", "True"))
	pod := send(condition("clients.pitstop.io/A", "False"))
	shown := map[string]string{}
	for _, c := range pod.Status.Conditions {
		shown[string(c.Type)] = string(c.Status)
	}
	expect("condition A", "False", shown["clients.pitstop.io/A"])
	expect("condition B", "True", shown["clients.pitstop.io/B"])
	expect("priority", int32(0), *pod.Spec.Priority)
}

func patchGeneric(t *trial) {
	generic := t.generic()
	object := create(t, t.configMap("subject"))
	base := object.DeepCopy()
	object.Data["key"] = "patched"
	done(generic.Patch(t, object, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})))
	expect("data", "patched", object.Data["key"])
	base.Data["key"] = "value"
	late := base.DeepCopy()
	late.Data["key"] = "late"
	refused(metav1.StatusReasonConflict, generic.Patch(t, late, client.MergeFromWithOptions(base, client.MergeFromWithOptimisticLock{})))
	strategic := client.StrategicMergeFrom(object.DeepCopy())
	object.Labels["added"] = "yes"
	done(generic.Patch(t, object, strategic))
	expect("label", "yes", object.Labels["added"])
	raw := client.RawPatch(jsonPatch, []byte(`[{"op":"remove","path":"/data/key"}]`))
	done(generic.Patch(t, object, raw))
	expect("entries", 0, len(object.Data))
}

func patchBadly(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	create(t, t.configMap("subject"))
	send := func(kind types.PatchType, patch string) error {
		_, err := client.Patch(t, "subject", kind, []byte(patch), metav1.PatchOptions{})
		return err
	}
	refused(metav1.StatusReasonBadRequest, send(mergePatch, `{"data":`))
	refused(metav1.StatusReasonBadRequest, send(strategicPatch, `[]`))
	refused(metav1.StatusReasonBadRequest, send(jsonPatch, `{}`))
	refused(metav1.StatusReasonInvalid, send(mergePatch, `{"data":[]}`))
	refused(metav1.StatusReasonUnsupportedMediaType, send("application/nosuch+json", `{}`))
	refused(metav1.StatusReasonBadRequest, send(mergePatch, `{"metadata":{"name":"other"}}`))
}
