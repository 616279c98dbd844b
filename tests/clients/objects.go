package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	jsonType     = "application/json"
	protobufType = "application/vnd.kubernetes.protobuf"
)

// patience is how often a writer tries again when all others are faster.
var patience = wait.Backoff{Steps: 100, Duration: 5 * time.Millisecond, Factor: 1.1, Jitter: 0.5, Cap: time.Second}

var (
	configMaps = corev1.SchemeGroupVersion.WithResource("configmaps")
	daemonSets = appsv1.SchemeGroupVersion.WithResource("daemonsets")
)

func objectChecks() []check {
	return []check{
		{name: "objects/typed", run: useTyped},
		{name: "objects/dynamic", run: useDynamic},
		{name: "objects/metadata", run: useMetadata},
		{name: "objects/controller-runtime", run: useGeneric},
		{name: "objects/protobuf", run: useProtobuf},
		{name: "objects/same-in-both-encodings", run: compareEncodings},
		{name: "objects/generate-name", run: generateNames},
		{name: "objects/retry-on-conflict", run: retryConflicts},
		{name: "objects/status-subresource", run: writeStatus},
		{name: "objects/binding", run: bindPod},
	}
}

func useTyped(t *trial) {
	daemonSets := t.typed().AppsV1().DaemonSets(t.namespace)
	made := must(daemonSets.Create(t, t.daemonSet("agent"), metav1.CreateOptions{}))
	expect("status code", 201, t.requests.last().status)
	expect("generation", int64(1), made.Generation)
	expectTrue("a uid, resourceVersion and creationTimestamp",
		made.UID != "" && made.ResourceVersion != "" && !made.CreationTimestamp.IsZero(), made.ObjectMeta)
	expect("default strategy", appsv1.RollingUpdateDaemonSetStrategyType, made.Spec.UpdateStrategy.Type)
	expect("default revisionHistoryLimit", int32(10), *made.Spec.RevisionHistoryLimit)
	_, err := daemonSets.Create(t, t.daemonSet("agent"), metav1.CreateOptions{})
	refused(metav1.StatusReasonAlreadyExists, err)

	found := must(daemonSets.Get(t, "agent", metav1.GetOptions{}))
	expectTrue("the spec that was made", equality.Semantic.DeepEqual(found.Spec, made.Spec), found.Spec)
	// A controller may write the status in between.
	done(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		found := must(daemonSets.Get(t, "agent", metav1.GetOptions{}))
		found.Spec.Template.Spec.Containers[0].Image = "registry.example/main:2"
		found, err := daemonSets.Update(t, found, metav1.UpdateOptions{})
		if err == nil {
			expect("generation after an update of the spec", int64(2), found.Generation)
		}
		return err
	}))
	done(retry.RetryOnConflict(retry.DefaultRetry, func() error {
		found := must(daemonSets.Get(t, "agent", metav1.GetOptions{}))
		found.Labels["colour"] = "red"
		found, err := daemonSets.Update(t, found, metav1.UpdateOptions{})
		if err == nil {
			expect("generation after an update of labels", int64(2), found.Generation)
		}
		return err
	}))
	done(daemonSets.Delete(t, "agent", metav1.DeleteOptions{}))
	t.gone(made)
	_, err = daemonSets.Get(t, "agent", metav1.GetOptions{})
	refused(metav1.StatusReasonNotFound, err)
	refused(metav1.StatusReasonNotFound, daemonSets.Delete(t, "agent", metav1.DeleteOptions{}))
}

func useDynamic(t *trial) {
	client := must(dynamic.NewForConfig(t.config)).Resource(configMaps).Namespace(t.namespace)
	object := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": "dynamic"},
		"data": map[string]any{"a": "1"},
	}}
	made := must(client.Create(t, object, metav1.CreateOptions{}))
	expect("kind", "ConfigMap", made.GetKind())
	expect("apiVersion", "v1", made.GetAPIVersion())
	done(unstructured.SetNestedField(made.Object, "2", "data", "b"))
	updated := must(client.Update(t, made, metav1.UpdateOptions{}))
	expectTrue("a new resourceVersion", updated.GetResourceVersion() != made.GetResourceVersion(), made.GetResourceVersion())
	list := must(client.List(t, metav1.ListOptions{}))
	found := slices.ContainsFunc(list.Items, func(o unstructured.Unstructured) bool {
		data, _, _ := unstructured.NestedStringMap(o.Object, "data")
		return maps.Equal(data, map[string]string{"a": "1", "b": "2"})
	})
	expectTrue("the updated object in the list", found, list.Items)
	expectTrue("a list with a resourceVersion", list.GetResourceVersion() != "", list.Object)
	done(client.Delete(t, "dynamic", metav1.DeleteOptions{}))
	_, err := client.Get(t, "dynamic", metav1.GetOptions{})
	refused(metav1.StatusReasonNotFound, err)
}

func useMetadata(t *trial) {
	create(t, t.configMap("bare"))
	client := must(metadata.NewForConfig(t.config)).Resource(configMaps).Namespace(t.namespace)
	one := must(client.Get(t, "bare", metav1.GetOptions{}))
	expectTrue("an answer of metadata alone", strings.Contains(t.requests.last().accept, "as=PartialObjectMetadata"), t.requests.last().accept)
	expect("name", "bare", one.Name)
	expect("label", t.namespace, one.Labels[label])
	list := must(client.List(t, metav1.ListOptions{LabelSelector: t.selector()}))
	expect("items", 1, len(list.Items))
	expect("name", "bare", list.Items[0].Name)
	patch := []byte(`{"metadata":{"annotations":{"note":"kept"}}}`)
	one = must(client.Patch(t, "bare", "application/merge-patch+json", patch, metav1.PatchOptions{}))
	expect("annotation", "kept", one.Annotations["note"])
	done(client.Delete(t, "bare", metav1.DeleteOptions{}))
}

func useGeneric(t *trial) {
	generic := t.generic()
	made := create(t, t.configMap("generic"))
	var found corev1.ConfigMap
	done(generic.Get(t, client.ObjectKeyFromObject(made), &found))
	found.Data["key"] = "changed"
	done(generic.Update(t, &found))
	made.Data["key"] = "too late"
	refused(metav1.StatusReasonConflict, generic.Update(t, made))
	var list corev1.ConfigMapList
	done(generic.List(t, &list, client.InNamespace(t.namespace), client.MatchingLabels{label: t.namespace}))
	expect("names", "[generic]", fmt.Sprint(names(list.Items)))
	expect("data", "changed", list.Items[0].Data["key"])
	done(generic.Delete(t, &found))
	refused(metav1.StatusReasonNotFound, generic.Delete(t, &found))
}

// encoded returns a configuration that speaks one encoding and reads both.
func (t *trial) encoded(contentType string) *rest.Config {
	config := rest.CopyConfig(t.config)
	config.ContentType = contentType
	if contentType == protobufType {
		config.AcceptContentTypes = protobufType + "," + jsonType
	}
	return config
}

func useProtobuf(t *trial) {
	client := must(kubernetes.NewForConfig(t.encoded(protobufType)))
	leases := client.CoordinationV1().Leases(t.namespace)
	// Microseconds are what a Lease keeps.
	now := metav1.NewMicroTime(time.Now().UTC().Truncate(time.Microsecond))
	lease := &coordinationv1.Lease{ObjectMeta: t.meta("lease"), Spec: coordinationv1.LeaseSpec{
		HolderIdentity: ptr("me"), LeaseDurationSeconds: ptr[int32](15), RenewTime: &now, LeaseTransitions: ptr[int32](0),
	}}
	made := must(leases.Create(t, lease, metav1.CreateOptions{}))
	expect("content type of the request", protobufType, t.requests.last().contentType)
	expect("accepted types", protobufType+","+jsonType, t.requests.last().accept)
	expectTrue("transitions of 0", made.Spec.LeaseTransitions != nil && *made.Spec.LeaseTransitions == 0, made.Spec)
	expectTrue("the same microsecond", made.Spec.RenewTime.Equal(&now), made.Spec.RenewTime)
	later := metav1.NewMicroTime(now.Add(time.Second))
	made.Spec.RenewTime = &later
	made = must(leases.Update(t, made, metav1.UpdateOptions{}))
	expectTrue("the later time", made.Spec.RenewTime.Equal(&later), made.Spec.RenewTime)

	binary := t.configMap("binary")
	binary.BinaryData = map[string][]byte{"bytes": {0, 1, 254, 255}}
	binary.Immutable = ptr(false)
	kept := must(client.CoreV1().ConfigMaps(t.namespace).Create(t, binary, metav1.CreateOptions{}))
	expect("binary data", "\x00\x01\xfe\xff", string(kept.BinaryData["bytes"]))
	expectTrue("a pointer to false", kept.Immutable != nil && !*kept.Immutable, kept.Immutable)

	options := metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions("wrong")}
	refused(metav1.StatusReasonConflict, leases.Delete(t, "lease", options))
	done(leases.Delete(t, "lease", *metav1.NewPreconditionDeleteOptions(string(made.UID))))
}

// compareEncodings makes one object with many kinds of fields in JSON and in protobuf: the server must keep the same.
func compareEncodings(t *trial) {
	t.admitsPods()
	var sets []*appsv1.DaemonSet
	var pods []*corev1.Pod
	for _, encoding := range []string{jsonType, protobufType} {
		client := must(kubernetes.NewForConfig(t.encoded(encoding)))
		made := must(client.AppsV1().DaemonSets(t.namespace).Create(t, t.richDaemonSet(), metav1.CreateOptions{}))
		sets = append(sets, made)
		done(client.AppsV1().DaemonSets(t.namespace).Delete(t, made.Name, metav1.DeleteOptions{}))
		t.gone(made)
		pod := t.pod("rich")
		pod.Spec = *made.Spec.Template.Spec.DeepCopy()
		pod.Spec.SchedulerName = scheduler
		pod = must(client.CoreV1().Pods(t.namespace).Create(t, pod, metav1.CreateOptions{}))
		pods = append(pods, pod)
		done(client.CoreV1().Pods(t.namespace).Delete(t, pod.Name, *metav1.NewDeleteOptions(0)))
		t.gone(pod)
	}
	expectSame("the spec of a DaemonSet", sets[0].Spec, sets[1].Spec)
	expectSame("its metadata", sets[0].Annotations, sets[1].Annotations)
	for _, pod := range pods {
		// Its name ends in random characters.
		volumes := pod.Spec.Volumes
		volumes[len(volumes)-1].Name = "token"
		for i := range pod.Spec.Containers {
			mounts := pod.Spec.Containers[i].VolumeMounts
			mounts[len(mounts)-1].Name = "token"
		}
	}
	expectSame("the spec of a pod", pods[0].Spec, pods[1].Spec)
	expect("the class of a pod", pods[0].Status.QOSClass, pods[1].Status.QOSClass)
}

func expectSame(what string, a, b any) {
	if !equality.Semantic.DeepEqual(a, b) {
		fail(fmt.Sprintf("expected the same %s in both encodings, got\n%+v\n%+v", what, a, b))
	}
}

// richDaemonSet returns one with quantities, times, pointers to zero, int-or-strings, bytes and inlined messages.
func (t *trial) richDaemonSet() *appsv1.DaemonSet {
	rich := t.daemonSet("rich")
	rich.Annotations = map[string]string{"note": "", "umlaut": "größer"}
	rich.Spec.MinReadySeconds = 3
	rich.Spec.RevisionHistoryLimit = ptr[int32](0)
	percent := intstr.FromString("25%")
	rich.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &percent}
	spec := &rich.Spec.Template.Spec
	spec.TerminationGracePeriodSeconds = ptr[int64](0)
	spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: ptr[int64](0), RunAsNonRoot: ptr(false)}
	spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists, TolerationSeconds: ptr[int64](0), Effect: corev1.TaintEffectNoExecute}}
	spec.Volumes = []corev1.Volume{
		{Name: "scratch", VolumeSource: corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: ptr(resource.MustParse("1500Mi"))}}},
		{Name: "host", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}}},
		{Name: "config", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Optional: ptr(true),
			Items: []corev1.KeyToPath{{Key: "a", Path: "b", Mode: ptr[int32](0o400)}},
		}}},
	}
	main := &spec.Containers[0]
	main.Ports = []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}}
	main.VolumeMounts = []corev1.VolumeMount{{Name: "config", MountPath: "/etc/settings", ReadOnly: true}}
	main.Resources.Limits = corev1.ResourceList{"cpu": resource.MustParse("1500m"), "memory": resource.MustParse("0.5Gi")}
	main.Env = []corev1.EnvVar{
		{Name: "EMPTY"},
		{Name: "NODE", ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "spec.nodeName"}}},
		{Name: "KEY", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "key", Optional: ptr(false),
		}}},
	}
	main.ReadinessProbe = &corev1.Probe{InitialDelaySeconds: 1, ProbeHandler: corev1.ProbeHandler{
		HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("http")},
	}}
	main.LivenessProbe = &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
		TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(8080)},
	}}
	main.Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}}}
	main.SecurityContext = &corev1.SecurityContext{
		Privileged: ptr(false), Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
	}
	return rich
}

func generateNames(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	pattern := regexp.MustCompile(`^given-[bcdfghjklmnpqrstvwxz2456789]{5}$`)
	seen := map[string]bool{}
	for range 3 {
		object := t.configMap("")
		object.GenerateName = "given-"
		made := must(client.Create(t, object, metav1.CreateOptions{}))
		expectTrue("a generated name", pattern.MatchString(made.Name) && made.GenerateName == "given-", made.Name)
		seen[made.Name] = true
	}
	expect("different names", 3, len(seen))
	long := t.configMap("")
	long.GenerateName = strings.Repeat("x", 250)
	expect("length of a generated name", 63, len(must(client.Create(t, long, metav1.CreateOptions{})).Name))
	_, err := client.Create(t, t.configMap(""), metav1.CreateOptions{})
	refused(metav1.StatusReasonInvalid, err)
}

// retryConflicts lets several writers count together.
func retryConflicts(t *trial) {
	const writers, rounds = 4, 5
	create(t, t.configMap("counter"))
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	increment := func() error {
		return retry.RetryOnConflict(patience, func() error {
			counter, err := client.Get(t, "counter", metav1.GetOptions{})
			if err != nil {
				return err
			}
			counter.Data["key"] += "+"
			_, err = client.Update(t, counter, metav1.UpdateOptions{})
			return err
		})
	}
	var group sync.WaitGroup
	errs := make(chan error, writers*rounds)
	for range writers {
		group.Add(1)
		go func() {
			defer group.Done()
			for range rounds {
				errs <- increment()
			}
		}()
	}
	group.Wait()
	close(errs)
	for err := range errs {
		done(err)
	}
	counter := must(client.Get(t, "counter", metav1.GetOptions{}))
	expect("increments", "value"+strings.Repeat("+", writers*rounds), counter.Data["key"])
}

func writeStatus(t *trial) {
	pods := t.typed().CoreV1().Pods(t.namespace)
	pod := t.createPod(t.pod("subject"))
	expect("phase", corev1.PodPending, pod.Status.Phase)
	ignored := pod.DeepCopy()
	ignored.Status.Message = "not by this way"
	ignored.Labels["by"] = "update"
	pod = must(pods.Update(t, ignored, metav1.UpdateOptions{}))
	expect("message after an update of the pod", "", pod.Status.Message)
	pod.Status.Message = "by this way"
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: "clients.pitstop.io/Seen", Status: "True"})
	pod.Spec.Containers[0].Image = "registry.example/other:1"
	pod.Labels["by"] = "status"
	pod = must(pods.UpdateStatus(t, pod, metav1.UpdateOptions{}))
	expect("message after an update of the status", "by this way", pod.Status.Message)
	expect("image after an update of the status", "registry.example/main:1", pod.Spec.Containers[0].Image)
	expect("label after an update of the status", "status", pod.Labels["by"])
	expect("generation", int64(1), pod.Generation)
	again := must(pods.UpdateStatus(t, pod, metav1.UpdateOptions{}))
	expect("resourceVersion after the same again", pod.ResourceVersion, again.ResourceVersion)
	pod.ResourceVersion = "1"
	_, err := pods.UpdateStatus(t, pod, metav1.UpdateOptions{})
	refused(metav1.StatusReasonConflict, err)
}

func bindPod(t *trial) {
	client := t.typed().CoreV1()
	node := create(t, t.node("bound"))
	pod := t.createPod(t.pod("bound"))
	binding := &corev1.Binding{
		ObjectMeta: metav1.ObjectMeta{Name: pod.Name, Annotations: map[string]string{"bound": "yes"}},
		Target:     corev1.ObjectReference{Kind: "Node", Name: node.Name},
	}
	done(client.Pods(t.namespace).Bind(t, binding, metav1.CreateOptions{}))
	pod = must(client.Pods(t.namespace).Get(t, pod.Name, metav1.GetOptions{}))
	expect("nodeName", node.Name, pod.Spec.NodeName)
	expect("annotation of the binding", "yes", pod.Annotations["bound"])
	expectTrue("condition PodScheduled", slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodScheduled && c.Status == corev1.ConditionTrue
	}), pod.Status.Conditions)
	refused(metav1.StatusReasonConflict, client.Pods(t.namespace).Bind(t, binding, metav1.CreateOptions{}))
	// Nobody runs it, so nobody confirms that it has ended.
	done(client.Pods(t.namespace).Delete(t, pod.Name, metav1.DeleteOptions{}))
	pod = must(client.Pods(t.namespace).Get(t, pod.Name, metav1.GetOptions{}))
	expect("grace period", int64(30), *pod.DeletionGracePeriodSeconds)
	expectTrue("an end in the future", pod.DeletionTimestamp.After(time.Now()), pod.DeletionTimestamp)
	done(client.Pods(t.namespace).Delete(t, pod.Name, *metav1.NewDeleteOptions(0)))
	t.gone(pod)
}

func ptr[V any](value V) *V {
	return &value
}
