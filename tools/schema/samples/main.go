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

	apps "k8s.io/api/apps/v1"
	coordination "k8s.io/api/coordination/v1"
	core "k8s.io/api/core/v1"
	events "k8s.io/api/events/v1"
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
		core.AddToScheme, apps.AddToScheme, coordination.AddToScheme, events.AddToScheme,
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

func kinds() []schema.GroupVersionKind {
	var kinds []schema.GroupVersionKind
	for _, name := range []string{
		"ConfigMap", "Event", "Namespace", "Node", "Pod", "Secret", "Service", "ServiceAccount",
	} {
		kinds = append(kinds, core.SchemeGroupVersion.WithKind(name))
	}
	return append(kinds,
		apps.SchemeGroupVersion.WithKind("ControllerRevision"),
		apps.SchemeGroupVersion.WithKind("DaemonSet"),
		coordination.SchemeGroupVersion.WithKind("Lease"),
		events.SchemeGroupVersion.WithKind("Event"),
	)
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
