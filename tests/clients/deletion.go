package main

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

func deletionChecks() []check {
	return []check{
		{name: "deletion/preconditions", run: deleteConditionally},
		{name: "deletion/finalizers", run: deleteFinalized},
		{name: "deletion/background", run: deleteInBackground},
		{name: "deletion/foreground", run: deleteInForeground},
		{name: "deletion/orphan", run: deleteOrphaning},
		{name: "deletion/missing-owner", run: ownByNobody},
		{name: "deletion/collection", run: deleteCollection},
		{name: "deletion/namespace", run: deleteNamespace},
	}
}

func deleteConditionally(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	made := create(t, t.configMap("subject"))
	withUID := func(uid types.UID) metav1.DeleteOptions {
		return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &uid}}
	}
	withVersion := func(version string) metav1.DeleteOptions {
		return metav1.DeleteOptions{Preconditions: &metav1.Preconditions{ResourceVersion: &version}}
	}
	refused(metav1.StatusReasonConflict, configMaps.Delete(t, "subject", withUID("other")))
	refused(metav1.StatusReasonConflict, configMaps.Delete(t, "subject", withVersion("1")))
	done(configMaps.Delete(t, "subject", withVersion(made.ResourceVersion)))
	made = create(t, t.configMap("subject"))
	done(t.generic().Delete(t, made, client.Preconditions{UID: &made.UID}))
}

func deleteFinalized(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	object := t.configMap("held")
	object.Finalizers = []string{"clients.pitstop.io/held"}
	create(t, object)
	done(configMaps.Delete(t, "held", metav1.DeleteOptions{}))
	held := must(configMaps.Get(t, "held", metav1.GetOptions{}))
	expectTrue("a deletionTimestamp", held.DeletionTimestamp != nil, held.ObjectMeta)
	expect("grace period", int64(0), *held.DeletionGracePeriodSeconds)
	done(configMaps.Delete(t, "held", metav1.DeleteOptions{}))
	again := must(configMaps.Get(t, "held", metav1.GetOptions{}))
	expect("resourceVersion after a second delete", held.ResourceVersion, again.ResourceVersion)
	more := held.DeepCopy()
	more.Finalizers = append(more.Finalizers, "clients.pitstop.io/more")
	_, err := configMaps.Update(t, more, metav1.UpdateOptions{})
	refused(metav1.StatusReasonInvalid, err)
	options := metav1.ListOptions{ResourceVersion: held.ResourceVersion, FieldSelector: "metadata.name=held"}
	events := must(configMaps.Watch(t, options))
	defer events.Stop()
	held.Finalizers = nil
	held.Data["key"] = "last words"
	last := must(configMaps.Update(t, held, metav1.UpdateOptions{}))
	expect("data in the answer", "last words", last.Data["key"])
	expect("finalizers in the answer", 0, len(last.Finalizers))
	// Those who watch see the state that was stored.
	deleted := t.next(events, watch.Deleted, "held").(*corev1.ConfigMap)
	expect("data in the event", "value", deleted.Data["key"])
	expect("finalizers in the event", 1, len(deleted.Finalizers))
	expectTrue("a resourceVersion of its own for the deletion", newer(deleted, held), deleted.ResourceVersion)
	_, err = configMaps.Get(t, "held", metav1.GetOptions{})
	refused(metav1.StatusReasonNotFound, err)
}

// family makes an owner with two children that it controls.
func (t *trial) family() (*corev1.ConfigMap, []*corev1.ConfigMap) {
	owner := create(t, t.configMap("owner"))
	var children []*corev1.ConfigMap
	for i := range 2 {
		child := t.configMap(fmt.Sprintf("child-%d", i))
		done(controllerutil.SetControllerReference(owner, child, t.generic().Scheme()))
		children = append(children, create(t, child))
	}
	return owner, children
}

func deleteInBackground(t *trial) {
	owner, children := t.family()
	done(t.generic().Delete(t, owner, client.PropagationPolicy(metav1.DeletePropagationBackground)))
	refused(metav1.StatusReasonNotFound, t.generic().Get(t, client.ObjectKeyFromObject(owner), owner.DeepCopy()))
	for _, child := range children {
		t.gone(child)
	}
}

func deleteInForeground(t *trial) {
	owner, children := t.family()
	generic := t.generic()
	held := children[0]
	held.Finalizers = []string{"clients.pitstop.io/held"}
	done(generic.Update(t, held))
	done(generic.Delete(t, owner, client.PropagationPolicy(metav1.DeletePropagationForeground)))
	t.gone(children[1])
	done(generic.Get(t, client.ObjectKeyFromObject(owner), owner))
	expect("finalizers of the owner", "[foregroundDeletion]", fmt.Sprint(owner.Finalizers))
	t.within(func() error {
		done(generic.Get(t, client.ObjectKeyFromObject(held), held))
		return differs("the child is being deleted", true, held.DeletionTimestamp != nil)
	})
	held.Finalizers = nil
	done(generic.Update(t, held))
	t.gone(owner)
}

func deleteOrphaning(t *trial) {
	owner, children := t.family()
	generic := t.generic()
	done(generic.Delete(t, owner, client.PropagationPolicy(metav1.DeletePropagationOrphan)))
	t.gone(owner)
	for _, child := range children {
		done(generic.Get(t, client.ObjectKeyFromObject(child), child))
		expect("owners of "+child.Name, 0, len(child.OwnerReferences))
	}
}

// ownByNobody makes an object whose only owner has never been there.
func ownByNobody(t *trial) {
	for i, uid := range []types.UID{uuid.NewUUID(), "not-even-a-uuid"} {
		child := t.configMap(fmt.Sprintf("foundling-%d", i))
		child.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "nosuch", UID: uid}}
		t.gone(create(t, child))
	}
}

func deleteCollection(t *trial) {
	configMaps := t.typed().CoreV1().ConfigMaps(t.namespace)
	for _, name := range []string{"a", "b", "kept"} {
		object := t.configMap(name)
		object.Labels["kept"] = fmt.Sprint(name == "kept")
		create(t, object)
	}
	done(configMaps.DeleteCollection(t, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "kept=false"}))
	left := must(configMaps.List(t, metav1.ListOptions{LabelSelector: t.selector()}))
	expect("what is left", "[kept]", fmt.Sprint(names(left.Items)))
	done(t.generic().DeleteAllOf(t, &corev1.ConfigMap{}, client.InNamespace(t.namespace), client.MatchingLabels{label: t.namespace}))
	left = must(configMaps.List(t, metav1.ListOptions{LabelSelector: t.selector()}))
	expect("what is left", 0, len(left.Items))
}

func deleteNamespace(t *trial) {
	namespaces := t.typed().CoreV1().Namespaces()
	template := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "clients-doomed-"}}
	doomed := must(namespaces.Create(t, template, metav1.CreateOptions{}))
	expect("phase", corev1.NamespaceActive, doomed.Status.Phase)
	expect("label", doomed.Name, doomed.Labels[corev1.LabelMetadataName])
	held := t.configMap("held")
	held.Namespace = doomed.Name
	held.Finalizers = []string{"clients.pitstop.io/held"}
	create(t, held)
	done(namespaces.Delete(t, doomed.Name, metav1.DeleteOptions{}))
	ending := must(namespaces.Get(t, doomed.Name, metav1.GetOptions{}))
	expect("phase", corev1.NamespaceTerminating, ending.Status.Phase)
	late := t.configMap("late")
	late.Namespace = doomed.Name
	refused(metav1.StatusReasonForbidden, t.generic().Create(t, late))
	t.within(func() error {
		done(t.generic().Get(t, client.ObjectKeyFromObject(held), held))
		return differs("the content is being deleted", true, held.DeletionTimestamp != nil)
	})
	held.Finalizers = nil
	done(t.generic().Update(t, held))
	t.gone(doomed)
}
