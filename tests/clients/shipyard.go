package main

import (
	"context"
	"fmt"
	"strconv"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation/field"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

const (
	// mostSeats is what the validating webhook lets through.
	mostSeats = 1000
	// anchored is the label of a ferry that the validating webhook does not let go.
	anchored = "clients.pitstop.io/anchored"
	// equipped is the annotation that the mutating webhook leaves.
	equipped = "clients.pitstop.io/equipped"
)

// shipyard is a controller of ferries as people write them: it reconciles, and it answers the API server's webhooks.
type shipyard struct {
	client.Client
	ferries ferries
}

// setUp adds the controller and its webhooks to a manager.
func (s *shipyard) setUp(manager ctrl.Manager) error {
	webhooks := ctrl.NewWebhookManagedBy(manager).For(&ferry{}).WithDefaulter(s).WithValidator(s)
	if err := webhooks.Complete(); err != nil {
		return err
	}
	return ctrl.NewControllerManagedBy(manager).
		For(&ferry{}).
		Owns(&corev1.ConfigMap{}).
		WithOptions(controller.Options{SkipNameValidation: ptr(true)}).
		Complete(s)
}

// Reconcile keeps a ConfigMap for each ferry, and says in the ferry's status what it has seen.
func (s *shipyard) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	var found ferry
	if err := s.Get(ctx, request.NamespacedName, &found); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !found.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	child := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: found.Name, Namespace: found.Namespace}}
	_, err := controllerutil.CreateOrUpdate(ctx, s.Client, child, func() error {
		child.Data = map[string]string{"seats": strconv.Itoa(int(found.Spec.Capacity.Seats))}
		return controllerutil.SetControllerReference(&found, child, s.Scheme())
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	found.Status.ObservedGeneration = found.Generation
	found.Status.Seats = found.Spec.Capacity.Seats
	meta.SetStatusCondition(&found.Status.Conditions, metav1.Condition{
		Type: "Built", Status: metav1.ConditionTrue, Reason: "SeatsCounted", ObservedGeneration: found.Generation,
	})
	return ctrl.Result{}, s.Status().Update(ctx, &found)
}

// Default gives a ferry a car for every ten seats.
func (*shipyard) Default(_ context.Context, object runtime.Object) error {
	made := object.(*ferry)
	if made.Spec.Capacity.Cars == 0 {
		made.Spec.Capacity.Cars = made.Spec.Capacity.Seats / 10
	}
	metav1.SetMetaDataAnnotation(&made.ObjectMeta, equipped, "yes")
	return nil
}

// ValidateCreate refuses ferries that are too large.
func (s *shipyard) ValidateCreate(_ context.Context, object runtime.Object) (admission.Warnings, error) {
	return nil, s.checkSeats(object.(*ferry))
}

// ValidateUpdate warns of fewer seats.
func (s *shipyard) ValidateUpdate(_ context.Context, old, object runtime.Object) (admission.Warnings, error) {
	before, now := old.(*ferry), object.(*ferry)
	var warnings admission.Warnings
	if lost := before.Spec.Capacity.Seats - now.Spec.Capacity.Seats; lost > 0 {
		warnings = append(warnings, fmt.Sprintf("%s loses %d seats", now.Name, lost))
	}
	return warnings, s.checkSeats(now)
}

// ValidateDelete refuses to let an anchored ferry go.
func (s *shipyard) ValidateDelete(_ context.Context, object runtime.Object) (admission.Warnings, error) {
	if going := object.(*ferry); going.Labels[anchored] != "" {
		resource := s.ferries.version("v1").WithResource("ferries").GroupResource()
		return nil, apierrors.NewForbidden(resource, going.Name, fmt.Errorf("it is anchored"))
	}
	return nil, nil
}

func (s *shipyard) checkSeats(checked *ferry) error {
	if checked.Spec.Capacity.Seats <= mostSeats {
		return nil
	}
	at := field.NewPath("spec", "capacity", "seats")
	problem := field.Invalid(at, checked.Spec.Capacity.Seats, fmt.Sprintf("must be at most %d", mostSeats))
	kind := s.ferries.version("v1").WithKind("Ferry").GroupKind()
	return apierrors.NewInvalid(kind, checked.Name, field.ErrorList{problem})
}

// hooks are the configurations that make a server ask the shipyard at an address about ferries of one namespace. They
// name version v1 only: requests in other versions are converted for them.
func (f ferries) hooks(name, namespace, address string, authority []byte) []client.Object {
	at := func(path string) admissionv1.WebhookClientConfig {
		return admissionv1.WebhookClientConfig{URL: ptr("https://" + address + path), CABundle: authority}
	}
	rules := func(operations ...admissionv1.OperationType) []admissionv1.RuleWithOperations {
		return []admissionv1.RuleWithOperations{{Operations: operations, Rule: admissionv1.Rule{
			APIGroups: []string{f.group}, APIVersions: []string{"v1"}, Resources: []string{"ferries"},
		}}}
	}
	path := admissionPath(f.version("v1").WithKind("Ferry"))
	none := ptr(admissionv1.SideEffectClassNone)
	here := &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
	meta := metav1.ObjectMeta{Name: name}
	return []client.Object{
		&admissionv1.MutatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionv1.MutatingWebhook{{
			Name: "equip." + f.group, ClientConfig: at("/mutate-" + path), SideEffects: none,
			Rules: rules(admissionv1.Create, admissionv1.Update), NamespaceSelector: here,
			AdmissionReviewVersions: []string{"v1"},
		}}},
		&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: meta, Webhooks: []admissionv1.ValidatingWebhook{{
			Name: "inspect." + f.group, ClientConfig: at("/validate-" + path), SideEffects: none,
			Rules:             rules(admissionv1.Create, admissionv1.Update, admissionv1.Delete),
			NamespaceSelector: here, AdmissionReviewVersions: []string{"v1"},
		}}},
	}
}
