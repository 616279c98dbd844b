// Command samples prints one random object of each kind that pitstop serves, as protobuf and as JSON, encoded by the
// library that Kubernetes clients use. pitstop's tests decode both and compare.
//
// One line each: group, version, kind, protobuf in hex, JSON.
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"

	admissionregistration "k8s.io/api/admissionregistration/v1"
	apps "k8s.io/api/apps/v1"
	authentication "k8s.io/api/authentication/v1"
	authorization "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batch "k8s.io/api/batch/v1"
	certificates "k8s.io/api/certificates/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	discovery "k8s.io/api/discovery/v1"
	events "k8s.io/api/events/v1"
	flowcontrol "k8s.io/api/flowcontrol/v1"
	networking "k8s.io/api/networking/v1"
	node "k8s.io/api/node/v1"
	policy "k8s.io/api/policy/v1"
	rbac "k8s.io/api/rbac/v1"
	devices "k8s.io/api/resource/v1"
	scheduling "k8s.io/api/scheduling/v1"
	storage "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/apitesting/fuzzer"
	metafuzzer "k8s.io/apimachinery/pkg/apis/meta/fuzzer"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
)

const (
	seed      = 7
	nilChance = 0.7
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		admissionregistration.AddToScheme, apps.AddToScheme, autoscalingv1.AddToScheme, autoscalingv2.AddToScheme,
		batch.AddToScheme, coordination.AddToScheme, core.AddToScheme, discovery.AddToScheme, events.AddToScheme,
		networking.AddToScheme, policy.AddToScheme, rbac.AddToScheme, scheduling.AddToScheme, storage.AddToScheme,
		authentication.AddToScheme, authorization.AddToScheme, certificates.AddToScheme, devices.AddToScheme,
		flowcontrol.AddToScheme, node.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return err
		}
	}
	codecs := serializer.NewCodecFactory(scheme)
	funcs := fuzzer.MergeFuzzerFuncs(metafuzzer.Funcs, func(serializer.CodecFactory) []any { return []any{raw, intOrString} })
	filler := fuzzer.FuzzerFor(funcs, rand.NewSource(seed), codecs).NilChance(nilChance).NumElements(1, 2)
	encoder := protobuf.NewSerializer(scheme, scheme)
	for _, kind := range kinds() {
		object, err := scheme.New(kind)
		if err != nil {
			return err
		}
		filler.Fill(object)
		object.GetObjectKind().SetGroupVersionKind(kind)
		var encoded bytes.Buffer
		if err := encoder.Encode(object, &encoded); err != nil {
			return err
		}
		text, err := json.Marshal(object)
		if err != nil {
			return err
		}
		hexadecimal := hex.EncodeToString(encoded.Bytes())
		fmt.Printf("%s\t%s\t%s\t%s\t%s\n", kind.Group, kind.Version, kind.Kind, hexadecimal, text)
	}
	return nil
}

// kinds lists what is printed. New kinds go to the end, so that the objects of the others stay as they are.
func kinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	add := func(version schema.GroupVersion, names ...string) {
		for _, name := range names {
			kinds = append(kinds, version.WithKind(name))
		}
	}
	add(core.SchemeGroupVersion, "ConfigMap", "Event", "Namespace", "Node", "Pod", "Secret", "Service", "ServiceAccount")
	add(apps.SchemeGroupVersion, "ControllerRevision", "DaemonSet")
	add(coordination.SchemeGroupVersion, "Lease")
	add(events.SchemeGroupVersion, "Event")
	add(core.SchemeGroupVersion, "Endpoints", "LimitRange", "PersistentVolume", "PersistentVolumeClaim", "PodTemplate",
		"ReplicationController", "ResourceQuota")
	add(admissionregistration.SchemeGroupVersion, "MutatingWebhookConfiguration", "ValidatingAdmissionPolicy",
		"ValidatingAdmissionPolicyBinding", "ValidatingWebhookConfiguration")
	add(apps.SchemeGroupVersion, "Deployment", "ReplicaSet", "StatefulSet")
	add(autoscalingv1.SchemeGroupVersion, "HorizontalPodAutoscaler")
	add(autoscalingv2.SchemeGroupVersion, "HorizontalPodAutoscaler")
	add(batch.SchemeGroupVersion, "CronJob", "Job")
	add(discovery.SchemeGroupVersion, "EndpointSlice")
	add(networking.SchemeGroupVersion, "Ingress", "IngressClass", "NetworkPolicy")
	add(policy.SchemeGroupVersion, "PodDisruptionBudget")
	add(rbac.SchemeGroupVersion, "ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding")
	add(scheduling.SchemeGroupVersion, "PriorityClass")
	add(storage.SchemeGroupVersion, "CSIDriver", "CSINode", "StorageClass", "VolumeAttachment")
	add(authentication.SchemeGroupVersion, "SelfSubjectReview", "TokenReview")
	add(authorization.SchemeGroupVersion, "LocalSubjectAccessReview", "SelfSubjectAccessReview", "SelfSubjectRulesReview",
		"SubjectAccessReview")
	add(certificates.SchemeGroupVersion, "CertificateSigningRequest")
	add(devices.SchemeGroupVersion, "DeviceClass", "ResourceClaim", "ResourceClaimTemplate", "ResourceSlice")
	add(flowcontrol.SchemeGroupVersion, "FlowSchema", "PriorityLevelConfiguration")
	add(node.SchemeGroupVersion, "RuntimeClass")
	add(networking.SchemeGroupVersion, "IPAddress", "ServiceCIDR")
	add(storage.SchemeGroupVersion, "CSIStorageCapacity", "VolumeAttributesClass")
	return kinds
}

func raw(value *runtime.RawExtension, _ randfill.Continue) {
	value.Raw = []byte(`{"spec":{"$patch":"replace","list":[1,"x",null]}}`)
}

func intOrString(value *intstr.IntOrString, random randfill.Continue) {
	if random.Bool() {
		*value = intstr.FromInt32(int32(random.Intn(9)))
	} else {
		*value = intstr.FromString(fmt.Sprintf("%d%%", 1+random.Intn(9)))
	}
}
