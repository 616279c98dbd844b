package main

import (
	"errors"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

func ruleChecks() []check {
	return []check{
		{name: "rules/validation", run: validate},
		{name: "rules/pod-updates", run: updatePod},
		{name: "rules/field-validation", run: validateFields},
		{name: "rules/server-fields", run: keepServerFields},
		{name: "rules/unchanged-update", run: changeNothing},
		{name: "rules/unconditional-update", run: updateUnconditionally},
		{name: "rules/dry-run", run: dryRun},
		{name: "rules/missing-namespace", run: missNamespace},
		{name: "rules/pod-defaults", run: defaultPod},
		{name: "rules/pod-admission", run: admitPod},
	}
}

// causes returns the fields that a server has named as invalid, e.g. "spec.selector".
func causes(err error) string {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return ""
	}
	var fields []string
	for _, cause := range status.Status().Details.Causes {
		// More than one thing may be wrong with a field.
		if !slices.Contains(fields, cause.Field) {
			fields = append(fields, cause.Field)
		}
	}
	return strings.Join(fields, ",")
}

// invalid ends the check unless the server has refused and named these fields.
func invalid(fields string, err error) {
	refused(metav1.StatusReasonInvalid, err)
	expect("invalid fields", fields, causes(err))
}

func validate(t *trial) {
	client := t.typed()
	options := metav1.CreateOptions{}
	_, err := client.CoreV1().ConfigMaps(t.namespace).Create(t, t.configMap("Upper_Case"), options)
	invalid("metadata.name", err)
	unlabelled := t.configMap("labelled")
	unlabelled.Labels["bad key!"] = "value"
	_, err = client.CoreV1().ConfigMaps(t.namespace).Create(t, unlabelled, options)
	invalid("metadata.labels", err)
	elsewhere := t.configMap("elsewhere")
	elsewhere.Namespace = "default"
	_, err = client.CoreV1().ConfigMaps(t.namespace).Create(t, elsewhere, options)
	refused(metav1.StatusReasonBadRequest, err)
	versioned := t.configMap("versioned")
	versioned.ResourceVersion = "1"
	_, err = client.CoreV1().ConfigMaps(t.namespace).Create(t, versioned, options)
	expectTrue("a refusal of a resourceVersion", err != nil && strings.Contains(err.Error(), "resourceVersion should not be set"), err)

	mismatched := t.daemonSet("mismatched")
	mismatched.Spec.Template.Labels = map[string]string{"app": "other"}
	_, err = client.AppsV1().DaemonSets(t.namespace).Create(t, mismatched, options)
	invalid("spec.template.metadata.labels", err)
	bare := t.daemonSet("bare")
	bare.Spec.Template.Spec.Containers = nil
	_, err = client.AppsV1().DaemonSets(t.namespace).Create(t, bare, options)
	invalid("spec.template.spec.containers", err)
	create(t, t.daemonSet("fixed"))
	patch := []byte(`{"spec":{"selector":{"matchLabels":{"app":"other"}},"template":{"metadata":{"labels":{"app":"other"}}}}}`)
	_, err = client.AppsV1().DaemonSets(t.namespace).Patch(t, "fixed", mergePatch, patch, metav1.PatchOptions{})
	invalid("spec.selector", err)
}

func updatePod(t *trial) {
	pods := t.typed().CoreV1().Pods(t.namespace)
	pod := t.createPod(t.pod("fixed"))
	pod.Spec.Containers[0].Image = "registry.example/main:2"
	pod = must(pods.Update(t, pod, metav1.UpdateOptions{}))
	expect("generation after an update of the image", int64(2), pod.Generation)
	other := pod.DeepCopy()
	other.Spec.Containers[0].Command = []string{"other"}
	_, err := pods.Update(t, other, metav1.UpdateOptions{})
	invalid("spec", err)
	tolerating := pod.DeepCopy()
	tolerating.Spec.Tolerations = append(tolerating.Spec.Tolerations, corev1.Toleration{Key: "more", Operator: "Exists"})
	tolerating = must(pods.Update(t, tolerating, metav1.UpdateOptions{}))
	expect("tolerations", 3, len(tolerating.Spec.Tolerations))
	intolerant := tolerating.DeepCopy()
	intolerant.Spec.Tolerations = intolerant.Spec.Tolerations[:2]
	_, err = pods.Update(t, intolerant, metav1.UpdateOptions{})
	invalid("spec.tolerations", err)
	// Those that every pod is given come back.
	tolerating.Spec.Tolerations = tolerating.Spec.Tolerations[2:]
	tolerating = must(pods.Update(t, tolerating, metav1.UpdateOptions{}))
	expect("tolerations", 3, len(tolerating.Spec.Tolerations))
}

// warnings collects what a server warns of.
type warnings []string

// HandleWarningHeader takes one warning.
func (w *warnings) HandleWarningHeader(_ int, _ string, text string) {
	*w = append(*w, text)
}

func validateFields(t *trial) {
	warned := &warnings{}
	config := rest.CopyConfig(t.config)
	config.WarningHandler = warned
	client := must(dynamic.NewForConfig(config)).Resource(configMaps).Namespace(t.namespace)
	object := func(name string) *unstructured.Unstructured {
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "v1", "kind": "ConfigMap", "metadata": map[string]any{"name": name}, "nosuch": "field",
		}}
	}
	_, err := client.Create(t, object("strict"), metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	refused(metav1.StatusReasonBadRequest, err)
	expectTrue("the name of the field", strings.Contains(err.Error(), `unknown field "nosuch"`), err)
	made := must(client.Create(t, object("warned"), metav1.CreateOptions{FieldValidation: metav1.FieldValidationWarn}))
	expect("warnings", `unknown field "nosuch"`, strings.Join(*warned, "; "))
	_, kept := made.Object["nosuch"]
	expect("the field is kept", false, kept)
	*warned = nil
	must(client.Create(t, object("ignored"), metav1.CreateOptions{FieldValidation: metav1.FieldValidationIgnore}))
	expect("warnings", "", strings.Join(*warned, "; "))
}

// keepServerFields tries to write what only the server may.
func keepServerFields(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	object := t.configMap("object")
	object.UID = "mine"
	object.CreationTimestamp = metav1.Unix(1, 0)
	object.Generation = 7
	made := must(client.Create(t, object, metav1.CreateOptions{}))
	expectTrue("a uid of the server", made.UID != "mine" && made.UID != "", made.UID)
	expectTrue("a creationTimestamp of the server", made.CreationTimestamp.Unix() > 1, made.CreationTimestamp)
	changed := made.DeepCopy()
	changed.CreationTimestamp = metav1.Unix(1, 0)
	changed.UID = ""
	changed.Data["key"] = "new"
	changed = must(client.Update(t, changed, metav1.UpdateOptions{}))
	expect("uid", made.UID, changed.UID)
	expect("creationTimestamp", made.CreationTimestamp.Unix(), changed.CreationTimestamp.Unix())
	stranger := changed.DeepCopy()
	stranger.UID = "other"
	_, err := client.Update(t, stranger, metav1.UpdateOptions{})
	refused(metav1.StatusReasonConflict, err)
}

func changeNothing(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	made := create(t, t.configMap("calm"))
	same := must(client.Update(t, made, metav1.UpdateOptions{}))
	expect("resourceVersion after the same PUT", made.ResourceVersion, same.ResourceVersion)
	patch := []byte(`{"data":{"key":"value"}}`)
	same = must(client.Patch(t, "calm", mergePatch, patch, metav1.PatchOptions{}))
	expect("resourceVersion after the same patch", made.ResourceVersion, same.ResourceVersion)
}

func updateUnconditionally(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	create(t, t.configMap("any"))
	blind := t.configMap("any")
	blind.Data["key"] = "blind"
	expect("data", "blind", must(client.Update(t, blind, metav1.UpdateOptions{})).Data["key"])
	missing := t.configMap("missing")
	_, err := client.Update(t, missing, metav1.UpdateOptions{})
	refused(metav1.StatusReasonNotFound, err)
}

func dryRun(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace)
	all := []string{metav1.DryRunAll}
	made := must(client.Create(t, t.configMap("dry"), metav1.CreateOptions{DryRun: all}))
	expectTrue("a uid", made.UID != "", made.ObjectMeta)
	_, err := client.Get(t, "dry", metav1.GetOptions{})
	refused(metav1.StatusReasonNotFound, err)
	real := create(t, t.configMap("real"))
	real.Data["key"] = "dry"
	expect("data", "dry", must(client.Update(t, real, metav1.UpdateOptions{DryRun: all})).Data["key"])
	done(client.Delete(t, "real", metav1.DeleteOptions{DryRun: all}))
	expect("data", "value", must(client.Get(t, "real", metav1.GetOptions{})).Data["key"])
}

func missNamespace(t *trial) {
	client := t.typed().CoreV1().ConfigMaps(t.namespace + "-nosuch")
	object := t.configMap("lost")
	object.Namespace = ""
	_, err := client.Create(t, object, metav1.CreateOptions{})
	refused(metav1.StatusReasonNotFound, err)
	list := must(client.List(t, metav1.ListOptions{}))
	expect("items in a namespace that is not there", 0, len(list.Items))
}

func defaultPod(t *trial) {
	made := t.createPod(t.pod("plain"))
	spec := made.Spec
	expect("restartPolicy", corev1.RestartPolicyAlways, spec.RestartPolicy)
	expect("dnsPolicy", corev1.DNSClusterFirst, spec.DNSPolicy)
	expect("grace period", int64(30), *spec.TerminationGracePeriodSeconds)
	expect("service links", true, *spec.EnableServiceLinks)
	expect("pull policy", corev1.PullIfNotPresent, spec.Containers[0].ImagePullPolicy)
	expect("class", corev1.PodQOSBestEffort, made.Status.QOSClass)
	expect("phase", corev1.PodPending, made.Status.Phase)
	expect("generation", int64(1), made.Generation)
}

func admitPod(t *trial) {
	made := t.createPod(t.pod("plain"))
	expect("service account", "default", made.Spec.ServiceAccountName)
	expect("priority", int32(0), *made.Spec.Priority)
	expect("preemption policy", corev1.PreemptLowerPriority, *made.Spec.PreemptionPolicy)
	expect("tolerations", 2, len(made.Spec.Tolerations))
	expect("volumes", 1, len(made.Spec.Volumes))
	expectTrue("a token volume", strings.HasPrefix(made.Spec.Volumes[0].Name, "kube-api-access-"), made.Spec.Volumes)
	expect("mounts", 1, len(made.Spec.Containers[0].VolumeMounts))
	unknown := t.pod("unknown")
	unknown.Spec.ServiceAccountName = "nosuch"
	refused(metav1.StatusReasonForbidden, t.generic().Create(t, unknown))
}
