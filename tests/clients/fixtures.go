package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Label of everything that a check makes; its value is the check's namespace.
const label = "clients.pitstop.io/check"

// A scheduler that nobody runs: its pods stay as the checks leave them.
const scheduler = "clients.pitstop.io"

// meta is the metadata of an object of this check.
func (t *trial) meta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: name, Namespace: t.namespace, Labels: map[string]string{label: t.namespace}}
}

// selector selects the objects of this check.
func (t *trial) selector() string {
	return label + "=" + t.namespace
}

func (t *trial) configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: t.meta(name), Data: map[string]string{"key": "value"}}
}

// pod returns a pod that nobody schedules.
func (t *trial) pod(name string) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: t.meta(name), Spec: corev1.PodSpec{
		SchedulerName: scheduler,
		Containers:    []corev1.Container{{Name: "main", Image: "registry.example/main:1"}},
	}}
}

// daemonSet returns a DaemonSet that no node runs.
func (t *trial) daemonSet(name string) *appsv1.DaemonSet {
	labels := map[string]string{"app": name}
	return &appsv1.DaemonSet{ObjectMeta: t.meta(name), Spec: appsv1.DaemonSetSpec{
		Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{
			ObjectMeta: metav1.ObjectMeta{Labels: labels},
			Spec: corev1.PodSpec{
				NodeSelector: map[string]string{label: "nowhere"},
				Containers: []corev1.Container{
					{Name: "main", Image: "registry.example/main:1"},
					{Name: "beside", Image: "registry.example/beside:1"},
				},
			},
		},
	}}
}

// node returns a node without a kubelet. Nodes are nobody's alone: its name carries that of the namespace, and it is
// removed with the check.
func (t *trial) node(name string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: t.meta(t.namespace + "-" + name)}
	node.Namespace = ""
	t.cleanup(func(ctx context.Context) {
		if plain, err := kubernetes.NewForConfig(t.config); err == nil {
			_ = plain.CoreV1().Nodes().Delete(ctx, node.Name, metav1.DeleteOptions{})
		}
	})
	return node
}

// create creates an object, which then is as the server made it.
func create[O client.Object](t *trial, object O) O {
	done(t.generic().Create(t, object))
	return object
}

// createPod creates a pod as soon as the namespace admits pods: a cluster without the namespace's service account
// refuses them.
func (t *trial) createPod(pod *corev1.Pod) *corev1.Pod {
	t.admitsPods()
	return create(t, pod)
}

// admitsPods waits until the namespace's service account is there.
func (t *trial) admitsPods() {
	accounts := t.typed().CoreV1().ServiceAccounts(t.namespace)
	t.within(func() error {
		_, err := accounts.Get(t, "default", metav1.GetOptions{})
		return err
	})
}

// gone waits until an object is no more.
func (t *trial) gone(object client.Object) {
	generic := t.generic()
	t.within(func() error {
		found := object.DeepCopyObject().(client.Object)
		err := generic.Get(t, client.ObjectKeyFromObject(object), found)
		switch {
		case apierrors.IsNotFound(err):
			return nil
		case err == nil && found.GetUID() != object.GetUID():
			return nil
		case err == nil:
			return fmt.Errorf("%s is still there, finalizers %v", found.GetName(), found.GetFinalizers())
		}
		return err
	})
}

// names returns the names of objects, in their order.
func names[O any, P interface {
	*O
	client.Object
}](objects []O) []string {
	var names []string
	for i := range objects {
		names = append(names, P(&objects[i]).GetName())
	}
	return names
}
