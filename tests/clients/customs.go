package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"slices"
	"strings"
	"time"

	autoscalingv1 "k8s.io/api/autoscaling/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/webhook"
)

func customChecks() []check {
	return []check{
		{name: "customs/controller-of-a-custom-resource", run: buildFerries},
		{name: "customs/versions-are-converted-by-a-webhook", run: convertFerries},
		{name: "customs/server-side-apply-across-versions", run: applyFerries},
		{name: "customs/admission-webhooks-change-refuse-and-warn", run: inspectFerries},
		{name: "customs/scale-in-both-versions", run: scaleFerries},
		{name: "customs/definition-goes-with-its-objects", run: scrapFerries},
	}
}

// harbour is a cluster with ferries and a shipyard that works.
type harbour struct {
	*trial
	ferries    ferries
	client     client.WithWatch
	definition *apiextensionsv1.CustomResourceDefinition
	warnings   *warnings
}

// harbour defines the kind, starts its controller, and tells the server of its webhooks.
func (t *trial) harbour() *harbour {
	kind := ferries{group: t.namespace + ".clients.pitstop.io"}
	certificate, authority := selfSigned()
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	port := listener.Addr().(*net.TCPAddr).Port
	// The webhook server opens its port itself.
	done(listener.Close())
	address := fmt.Sprintf("127.0.0.1:%d", port)

	config := rest.CopyConfig(t.config)
	h := &harbour{trial: t, ferries: kind, warnings: &warnings{}}
	config.WarningHandler = h.warnings
	h.client = must(client.NewWithWatch(config, client.Options{Scheme: kind.scheme()}))
	h.definition = kind.definition(&apiextensionsv1.WebhookClientConfig{
		URL: ptr("https://" + address + "/convert"), CABundle: authority,
	})
	h.make(h.definition)
	h.established()

	manager := must(ctrl.NewManager(t.config, ctrl.Options{
		Scheme:  kind.scheme(),
		Cache:   cache.Options{DefaultNamespaces: map[string]cache.Config{t.namespace: {}}},
		Metrics: metricsserver.Options{BindAddress: "0"},
		WebhookServer: webhook.NewServer(webhook.Options{Host: "127.0.0.1", Port: port, TLSOpts: []func(*tls.Config){
			func(config *tls.Config) {
				config.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return &certificate, nil }
			},
		}}),
	}))
	done((&shipyard{Client: manager.GetClient(), ferries: kind}).setUp(manager))
	ended := make(chan error, 1)
	go func() { ended <- manager.Start(t) }()
	t.within(func() error {
		select {
		case err := <-ended:
			fail(fmt.Sprintf("expected a manager that runs, but it ended: %v", err))
		default:
		}
		return manager.GetWebhookServer().StartedChecker()(nil)
	})
	for _, hook := range kind.hooks(t.namespace, t.namespace, address, authority) {
		h.make(hook)
	}
	// A server learns of its hooks a moment after they are there.
	t.within(func() error {
		probe := h.ferry("probe", 10)
		done(h.client.Create(t, probe, client.DryRunAll))
		return differs("the mutating webhook was asked", "yes", probe.Annotations[equipped])
	})
	t.within(func() error {
		err := h.client.Create(t, h.ferry("probe", mostSeats+1), client.DryRunAll)
		return differs("the validating webhook refused", true, apierrors.IsInvalid(err))
	})
	return h
}

// make creates an object of the cluster that is removed with the check.
func (h *harbour) make(object client.Object) {
	done(h.client.Create(h, object))
	h.cleanup(func(ctx context.Context) { _ = h.client.Delete(ctx, object) })
}

// established waits until the kind is served.
func (h *harbour) established() {
	h.within(func() error {
		done(h.client.Get(h, client.ObjectKeyFromObject(h.definition), h.definition))
		for _, condition := range h.definition.Status.Conditions {
			if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
				return h.client.List(h, &ferryList{}, client.InNamespace(h.namespace))
			}
		}
		return fmt.Errorf("not established: %v", h.definition.Status.Conditions)
	})
}

func (h *harbour) ferry(name string, seats int32) *ferry {
	return &ferry{ObjectMeta: h.meta(name), Spec: ferrySpec{Capacity: capacity{Seats: seats}}}
}

func (h *harbour) ferryAlpha(name string, seats int32) *ferryAlpha {
	return &ferryAlpha{ObjectMeta: h.meta(name), Spec: ferrySpecAlpha{Seats: seats}}
}

// read returns an object as it is now, in the version of what is given.
func read[O client.Object](h *harbour, object O) O {
	done(h.client.Get(h, client.ObjectKeyFromObject(object), object))
	return object
}

// built waits until the shipyard has seen a ferry with so many seats.
func (h *harbour) built(name string, seats int32) *ferry {
	found := h.ferry(name, 0)
	h.within(func() error {
		read(h, found)
		if !meta.IsStatusConditionTrue(found.Status.Conditions, "Built") {
			return fmt.Errorf("ferry %s is not built: %v", name, found.Status)
		}
		if err := differs("observedGeneration", found.Generation, found.Status.ObservedGeneration); err != nil {
			return err
		}
		return differs("seats in the status", seats, found.Status.Seats)
	})
	return found
}

func buildFerries(t *trial) {
	h := t.harbour()
	done(h.client.Create(h, h.ferry("one", 100)))
	one := h.built("one", 100)
	expect("default of the schema", "slow", one.Spec.Speed)
	child := must(t.typed().CoreV1().ConfigMaps(t.namespace).Get(t, "one", metav1.GetOptions{}))
	expectTrue("a controller reference", metav1.IsControlledBy(child, one), child.OwnerReferences)

	// What a client writes into the status of the object itself is dropped, and the generation counts its spec only.
	changed := one.DeepCopyObject().(*ferry)
	changed.Status.Seats = 7
	done(h.client.Update(h, changed))
	expect("generation after a write of the status", one.Generation, changed.Generation)
	expect("seats in the status", int32(100), changed.Status.Seats)
	done(h.client.Patch(h, one, client.RawPatch(mergePatch, []byte(`{"spec":{"capacity":{"seats":120}}}`))))
	expect("generation after a change", changed.Generation+1, one.Generation)
	h.built("one", 120)
	t.within(func() error {
		child := must(t.typed().CoreV1().ConfigMaps(t.namespace).Get(t, "one", metav1.GetOptions{}))
		return differs("seats in the child", "120", child.Data["seats"])
	})

	// A child that is deleted comes back, and goes with its owner.
	done(t.typed().CoreV1().ConfigMaps(t.namespace).Delete(t, "one", metav1.DeleteOptions{}))
	t.within(func() error {
		again, err := t.typed().CoreV1().ConfigMaps(t.namespace).Get(t, "one", metav1.GetOptions{})
		if err != nil {
			return err
		}
		return differs("a new child", true, again.UID != child.UID)
	})
	done(h.client.Delete(h, one))
	t.gone(child)
	t.within(func() error {
		_, err := t.typed().CoreV1().ConfigMaps(t.namespace).Get(t, "one", metav1.GetOptions{})
		return differs("the child is gone", true, apierrors.IsNotFound(err))
	})
}

func convertFerries(t *trial) {
	h := t.harbour()
	alphas := must(h.client.Watch(h, &ferryAlphaList{}, client.InNamespace(h.namespace)))
	defer alphas.Stop()

	// Defaults of the webhook, which knows v1 only, reach an object that is created as v1alpha1.
	alpha := h.ferryAlpha("one", 100)
	done(h.client.Create(h, alpha))
	expect("seats", int32(100), alpha.Spec.Seats)
	expect("cars as v1alpha1 keeps them", "10", alpha.Annotations[carsKept])
	one := read(h, h.ferry("one", 0))
	expect("capacity as v1", capacity{Seats: 100, Cars: 10}, one.Spec.Capacity)
	expect("cars kept in an annotation of v1", "", one.Annotations[carsKept])
	seen := t.next(alphas, watch.Added, "one").(*ferryAlpha)
	expect("seats in a watch of v1alpha1", int32(100), seen.Spec.Seats)

	// An update in the old version keeps what it does not know.
	h.built("one", 100)
	done(h.client.Patch(h, alpha, client.RawPatch(mergePatch, []byte(`{"spec":{"seats":200}}`))))
	expect("capacity after a patch of v1alpha1", capacity{Seats: 200, Cars: 10}, read(h, one).Spec.Capacity)
	read(h, alpha).Spec.Speed = "fast"
	// The shipyard writes its status at any time.
	t.within(func() error {
		read(h, alpha).Spec.Speed = "fast"
		return h.client.Update(h, alpha)
	})
	expect("spec after an update of v1alpha1", "{{200 10} fast []}", fmt.Sprint(read(h, one).Spec))

	done(h.client.Create(h, h.ferry("two", 20)))
	var list ferryAlphaList
	done(h.client.List(h, &list, client.InNamespace(h.namespace)))
	expect("names", "[one two]", fmt.Sprint(names(list.Items)))
	expect("seats in a list of v1alpha1", int32(20), list.Items[1].Spec.Seats)
	expect("cars in a list of v1alpha1", "2", list.Items[1].Annotations[carsKept])
	read(h, h.definition)
	expect("stored versions", "[v1]", fmt.Sprint(h.definition.Status.StoredVersions))

	// What the webhook cannot convert is refused, and nothing is stored.
	broken := h.ferryAlpha("broken", 1)
	broken.Annotations = map[string]string{carsKept: "many"}
	err := h.client.Create(h, broken)
	expectTrue("an error of the conversion", err != nil && strings.Contains(err.Error(), "conversion webhook for"), err)
	err = h.client.Get(h, client.ObjectKeyFromObject(broken), h.ferry("broken", 0))
	expect("nothing was stored", true, apierrors.IsNotFound(err))
}

func applyFerries(t *trial) {
	h := t.harbour()
	apply := func(version, manager, spec string, options ...client.PatchOption) error {
		object := h.ferry("one", 0)
		body := fmt.Sprintf(`{"apiVersion":%q,"kind":"Ferry","metadata":{"name":"one"},"spec":%s}`,
			h.ferries.version(version).String(), spec)
		var target client.Object = object
		if version == "v1alpha1" {
			target = h.ferryAlpha("one", 0)
		}
		options = append(options, client.FieldOwner(manager))
		return h.client.Patch(h, target, client.RawPatch(types.ApplyPatchType, []byte(body)), options...)
	}
	done(apply("v1", "one", `{"capacity":{"seats":50},"decks":[{"name":"upper","seats":20}]}`))
	// Another manager adds a deck of its own in the other version.
	done(apply("v1alpha1", "two", `{"seats":50,"decks":[{"name":"lower","seats":30}]}`))
	found := read(h, h.ferry("one", 0))
	slices.SortFunc(found.Spec.Decks, func(a, b deck) int { return strings.Compare(a.Name, b.Name) })
	expect("decks of both managers", "[{lower 30} {upper 20}]", fmt.Sprint(found.Spec.Decks))
	err := apply("v1alpha1", "two", `{"seats":60,"decks":[{"name":"lower","seats":30}]}`)
	refused(metav1.StatusReasonConflict, err)
	expectTrue("the field in the words of its owner", strings.Contains(err.Error(), ".spec.capacity.seats"), err)
	done(apply("v1alpha1", "two", `{"seats":60}`, client.ForceOwnership))
	read(h, found)
	expect("seats after the conflict was forced", int32(60), found.Spec.Capacity.Seats)
	expect("decks after one was left out", "[{upper 20}]", fmt.Sprint(found.Spec.Decks))
}

func inspectFerries(t *trial) {
	h := t.harbour()
	err := h.client.Create(h, h.ferry("large", mostSeats+1))
	refused(metav1.StatusReasonInvalid, err)
	cause, has := apierrors.StatusCause(err, metav1.CauseTypeFieldValueInvalid)
	expect("a cause", true, has)
	expect("its field", "spec.capacity.seats", cause.Field)
	expectTrue("the name of the webhook", strings.HasPrefix(err.Error(), `admission webhook "inspect.`+h.ferries.group+`" denied the request: `), err)
	// The same in the other version: the webhook is asked about v1.
	err = h.client.Create(h, h.ferryAlpha("large", mostSeats+1))
	refused(metav1.StatusReasonInvalid, err)
	// The schema speaks before any webhook.
	wrong := h.ferry("wrong", 1)
	wrong.Spec.Speed = "never"
	err = h.client.Create(h, wrong)
	expectTrue("the accepted values", err != nil && strings.Contains(err.Error(), `supported values: "slow", "fast"`), err)

	one := h.ferry("one", 100)
	one.Labels[anchored] = "yes"
	done(h.client.Create(h, one))
	expect("annotation of the mutating webhook", "yes", one.Annotations[equipped])
	h.built("one", 100)
	*h.warnings = nil
	done(h.client.Patch(h, one, client.RawPatch(mergePatch, []byte(`{"spec":{"capacity":{"seats":90}}}`))))
	expect("warnings", "one loses 10 seats", strings.Join(*h.warnings, "; "))
	err = h.client.Delete(h, one)
	refused(metav1.StatusReasonForbidden, err)
	expectTrue("the reason of the webhook", strings.Contains(err.Error(), "it is anchored"), err)
	// A collection of one is one, too.
	err = h.client.DeleteAllOf(h, &ferry{}, client.InNamespace(h.namespace))
	refused(metav1.StatusReasonForbidden, err)
	done(h.client.Patch(h, one, client.RawPatch(mergePatch, []byte(`{"metadata":{"labels":{"`+anchored+`":null}}}`))))
	done(h.client.Delete(h, one, client.DryRunAll))
	done(h.client.Delete(h, one))
	t.within(func() error {
		err := h.client.Get(h, client.ObjectKeyFromObject(one), one)
		return differs("the ferry is gone", true, apierrors.IsNotFound(err))
	})
}

func scaleFerries(t *trial) {
	h := t.harbour()
	one := h.ferry("one", 100)
	done(h.client.Create(h, one))
	h.built("one", 100)
	for i, object := range []client.Object{one, h.ferryAlpha("one", 0)} {
		scale := &autoscalingv1.Scale{}
		done(h.client.SubResource("scale").Get(h, object, scale))
		expect("seats to be", int32(100+i), scale.Spec.Replicas)
		scale.Spec.Replicas++
		scale.ResourceVersion = ""
		done(h.client.SubResource("scale").Update(h, object, client.WithSubResourceBody(scale)))
		scaled := h.built("one", int32(101+i))
		expect("seats", int32(101+i), scaled.Spec.Capacity.Seats)
		done(h.client.SubResource("scale").Get(h, object, scale))
		expect("seats that are", int32(101+i), scale.Status.Replicas)
	}
}

func scrapFerries(t *trial) {
	h := t.harbour()
	one := h.ferry("one", 100)
	done(h.client.Create(h, one))
	h.built("one", 100)
	events := must(h.client.Watch(h, &ferryList{}, client.InNamespace(h.namespace), &client.ListOptions{
		Raw: &metav1.ListOptions{ResourceVersion: read(h, one).ResourceVersion},
	}))
	defer events.Stop()
	done(h.client.Delete(h, h.definition))
	t.next(events, watch.Deleted, "one")
	t.within(func() error {
		err := h.client.Get(h, client.ObjectKeyFromObject(h.definition), &apiextensionsv1.CustomResourceDefinition{})
		return differs("the definition is gone", true, apierrors.IsNotFound(err))
	})
	t.within(func() error {
		err := h.client.List(h, &ferryList{}, client.InNamespace(h.namespace))
		return differs("the kind is gone", true, apierrors.IsNotFound(err))
	})
	// A definition that comes again finds nothing left.
	h.definition.ObjectMeta = metav1.ObjectMeta{Name: h.definition.Name}
	h.definition.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
	done(h.client.Create(h, h.definition))
	h.established()
	var list ferryList
	done(h.client.List(h, &list, client.InNamespace(h.namespace)))
	expect("ferries of the new definition", 0, len(list.Items))
}

// admissionPath is the part of a webhook's path that controller-runtime makes of a kind.
func admissionPath(kind schema.GroupVersionKind) string {
	return strings.ReplaceAll(kind.Group, ".", "-") + "-" + kind.Version + "-" + strings.ToLower(kind.Kind)
}

// selfSigned returns a certificate for this machine that vouches for itself, and the same as PEM.
func selfSigned() (tls.Certificate, []byte) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	template := &x509.Certificate{
		SerialNumber:          big.NewInt(1),
		Subject:               pkix.Name{CommonName: "shipyard"},
		IPAddresses:           []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	encoded := must(x509.CreateCertificate(rand.Reader, template, template, key.Public(), key))
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: encoded})
	return tls.Certificate{Certificate: [][]byte{encoded}, PrivateKey: key}, authority
}
