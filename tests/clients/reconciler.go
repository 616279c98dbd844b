package main

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/record"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
)

const (
	// finalizer holds a ConfigMap until its reconciler has let go.
	finalizer = "clients.pitstop.io/reconciled"
	// configured is the condition that says which content a pod was last told of.
	configured corev1.PodConditionType = "clients.pitstop.io/Configured"
)

// reconciler keeps one pod for each ConfigMap and tells it of the content.
type reconciler struct {
	client.Client
	recorder record.EventRecorder
	scheme   *runtime.Scheme
	// identity is noted on what it makes.
	identity string
	pod      func(name string) *corev1.Pod
}

// setUp adds the reconciler to a manager.
func (r *reconciler) setUp(manager ctrl.Manager) error {
	marked := predicate.NewPredicateFuncs(func(object client.Object) bool { return object.GetLabels()[label] != "" })
	// Names of controllers are unique in a process; here there are several of each.
	skip := true
	return ctrl.NewControllerManagedBy(manager).
		For(&corev1.ConfigMap{}).
		Owns(&corev1.Pod{}).
		WithEventFilter(marked).
		WithOptions(controller.Options{SkipNameValidation: &skip}).
		Complete(r)
}

// Reconcile brings the pod of one ConfigMap up to date.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var owner corev1.ConfigMap
	if err := r.Get(ctx, request.NamespacedName, &owner); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !owner.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, r.letGo(ctx, &owner)
	}
	if controllerutil.AddFinalizer(&owner, finalizer) {
		// The update comes back as an event.
		return ctrl.Result{}, r.Update(ctx, &owner)
	}
	var pod corev1.Pod
	err := r.Get(ctx, request.NamespacedName, &pod)
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, r.makePod(ctx, &owner)
	case err != nil || !pod.DeletionTimestamp.IsZero():
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.tell(ctx, &owner, &pod)
}

func (r *reconciler) makePod(ctx context.Context, owner *corev1.ConfigMap) error {
	pod := r.pod(owner.Name)
	pod.Annotations = map[string]string{"made-by": r.identity}
	if err := controllerutil.SetControllerReference(owner, pod, r.scheme); err != nil {
		return err
	}
	if err := r.Create(ctx, pod); err != nil {
		return client.IgnoreAlreadyExists(err)
	}
	r.recorder.Eventf(owner, corev1.EventTypeNormal, "Created", "made pod %s", pod.Name)
	return nil
}

// tell writes the content into the status of the pod.
func (r *reconciler) tell(ctx context.Context, owner *corev1.ConfigMap, pod *corev1.Pod) error {
	told := corev1.PodCondition{Type: configured, Status: corev1.ConditionTrue, Message: owner.Data["key"]}
	base := pod.DeepCopy()
	for i, condition := range pod.Status.Conditions {
		if condition.Type != configured {
			continue
		}
		if condition.Message == told.Message {
			return nil
		}
		pod.Status.Conditions[i] = told
		return r.Status().Update(ctx, pod)
	}
	pod.Status.Conditions = append(pod.Status.Conditions, told)
	return r.Status().Patch(ctx, pod, client.StrategicMergeFrom(base))
}

// letGo removes the finalizer, after which the object is gone.
func (r *reconciler) letGo(ctx context.Context, owner *corev1.ConfigMap) error {
	if !controllerutil.ContainsFinalizer(owner, finalizer) {
		return nil
	}
	base := owner.DeepCopy()
	controllerutil.RemoveFinalizer(owner, finalizer)
	if err := r.Patch(ctx, owner, client.MergeFrom(base)); err != nil {
		return client.IgnoreNotFound(err)
	}
	r.recorder.Event(owner, corev1.EventTypeNormal, "Released", "let go")
	return nil
}
