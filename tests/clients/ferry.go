package main

import (
	"encoding/json"
	"slices"
	"strconv"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/conversion"
)

// carsKept is where v1alpha1, which has no field for it, keeps the number of cars.
const carsKept = "clients.pitstop.io/cars"

// ferry is kind Ferry in version v1, which is stored.
type ferry struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ferrySpec   `json:"spec"`
	Status ferryStatus `json:"status,omitempty"`
}

type ferrySpec struct {
	Capacity capacity `json:"capacity"`
	Speed    string   `json:"speed,omitempty"`
	Decks    []deck   `json:"decks,omitempty"`
}

type capacity struct {
	Seats int32 `json:"seats"`
	Cars  int32 `json:"cars,omitempty"`
}

type deck struct {
	Name  string `json:"name"`
	Seats int32  `json:"seats,omitempty"`
}

type ferryStatus struct {
	ObservedGeneration int64              `json:"observedGeneration,omitempty"`
	Seats              int32              `json:"seats,omitempty"`
	Conditions         []metav1.Condition `json:"conditions,omitempty"`
}

// ferryAlpha is the same kind in version v1alpha1.
type ferryAlpha struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	Spec   ferrySpecAlpha `json:"spec"`
	Status ferryStatus    `json:"status,omitempty"`
}

type ferrySpecAlpha struct {
	Seats int32  `json:"seats"`
	Speed string `json:"speed,omitempty"`
	Decks []deck `json:"decks,omitempty"`
}

type ferryList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ferry `json:"items"`
}

type ferryAlphaList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`

	Items []ferryAlpha `json:"items"`
}

// Hub marks the version through which all conversions go.
func (*ferry) Hub() {}

// ConvertTo writes a v1alpha1 object as v1.
func (f *ferryAlpha) ConvertTo(hub conversion.Hub) error {
	to := hub.(*ferry)
	f.ObjectMeta.DeepCopyInto(&to.ObjectMeta)
	var cars int
	if kept := f.Annotations[carsKept]; kept != "" {
		var err error
		if cars, err = strconv.Atoi(kept); err != nil {
			return err
		}
		delete(to.Annotations, carsKept)
	}
	to.Spec = ferrySpec{
		Capacity: capacity{Seats: f.Spec.Seats, Cars: int32(cars)},
		Speed:    f.Spec.Speed,
		Decks:    slices.Clone(f.Spec.Decks),
	}
	to.Status = f.Status
	return nil
}

// ConvertFrom reads a v1 object as v1alpha1.
func (f *ferryAlpha) ConvertFrom(hub conversion.Hub) error {
	from := hub.(*ferry)
	from.ObjectMeta.DeepCopyInto(&f.ObjectMeta)
	if cars := from.Spec.Capacity.Cars; cars != 0 {
		metav1.SetMetaDataAnnotation(&f.ObjectMeta, carsKept, strconv.Itoa(int(cars)))
	}
	f.Spec = ferrySpecAlpha{
		Seats: from.Spec.Capacity.Seats,
		Speed: from.Spec.Speed,
		Decks: slices.Clone(from.Spec.Decks),
	}
	f.Status = from.Status
	return nil
}

func (f *ferry) DeepCopyObject() runtime.Object          { return deepCopy(f) }
func (f *ferryAlpha) DeepCopyObject() runtime.Object     { return deepCopy(f) }
func (l *ferryList) DeepCopyObject() runtime.Object      { return deepCopy(l) }
func (l *ferryAlphaList) DeepCopyObject() runtime.Object { return deepCopy(l) }

// deepCopy copies by way of JSON, of which these types are made.
func deepCopy[T any](from *T) *T {
	encoded, err := json.Marshal(from)
	if err == nil {
		to := new(T)
		if err = json.Unmarshal(encoded, to); err == nil {
			return to
		}
	}
	panic(err)
}

// ferries is the kind in a group of its own, so that checks do not meet.
type ferries struct {
	group string
}

func (f ferries) version(version string) schema.GroupVersion {
	return schema.GroupVersion{Group: f.group, Version: version}
}

// scheme knows both versions, and what Kubernetes itself has.
func (f ferries) scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	done(clientgoscheme.AddToScheme(scheme))
	done(apiextensionsv1.AddToScheme(scheme))
	for version, types := range map[string][2]runtime.Object{
		"v1":       {&ferry{}, &ferryList{}},
		"v1alpha1": {&ferryAlpha{}, &ferryAlphaList{}},
	} {
		of := f.version(version)
		scheme.AddKnownTypeWithName(of.WithKind("Ferry"), types[0])
		scheme.AddKnownTypeWithName(of.WithKind("FerryList"), types[1])
		metav1.AddToGroupVersion(scheme, of)
	}
	return scheme
}

// definition is the kind's definition, whose versions the given webhook converts.
func (f ferries) definition(convert *apiextensionsv1.WebhookClientConfig) *apiextensionsv1.CustomResourceDefinition {
	seats := apiextensionsv1.JSONSchemaProps{Type: "integer", Format: "int32", Minimum: ptr(0.0)}
	return &apiextensionsv1.CustomResourceDefinition{
		ObjectMeta: metav1.ObjectMeta{Name: "ferries." + f.group},
		Spec: apiextensionsv1.CustomResourceDefinitionSpec{
			Group: f.group,
			Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: "ferries", Singular: "ferry", Kind: "Ferry"},
			Scope: apiextensionsv1.NamespaceScoped,
			Conversion: &apiextensionsv1.CustomResourceConversion{
				Strategy: apiextensionsv1.WebhookConverter,
				Webhook: &apiextensionsv1.WebhookConversion{
					ClientConfig:             convert,
					ConversionReviewVersions: []string{"v1"},
				},
			},
			Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
				ferryVersion("v1", true, ".spec.capacity.seats", "capacity", apiextensionsv1.JSONSchemaProps{
					Type:     "object",
					Required: []string{"seats"},
					Properties: map[string]apiextensionsv1.JSONSchemaProps{
						"seats": seats,
						"cars":  {Type: "integer", Format: "int32"},
					},
				}),
				ferryVersion("v1alpha1", false, ".spec.seats", "seats", seats),
			},
		},
	}
}

func ferryVersion(name string, stored bool, seatsAt, field string, own apiextensionsv1.JSONSchemaProps) apiextensionsv1.CustomResourceDefinitionVersion {
	text := apiextensionsv1.JSONSchemaProps{Type: "string"}
	number := apiextensionsv1.JSONSchemaProps{Type: "integer"}
	object := func(required []string, fields map[string]apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{Type: "object", Required: required, Properties: fields}
	}
	mapOf := func(key string, item apiextensionsv1.JSONSchemaProps) apiextensionsv1.JSONSchemaProps {
		return apiextensionsv1.JSONSchemaProps{
			Type:         "array",
			Items:        &apiextensionsv1.JSONSchemaPropsOrArray{Schema: &item},
			XListType:    ptr("map"),
			XListMapKeys: []string{key},
		}
	}
	spec := object([]string{field}, map[string]apiextensionsv1.JSONSchemaProps{
		field: own,
		"speed": {
			Type:    "string",
			Default: &apiextensionsv1.JSON{Raw: []byte(`"slow"`)},
			Enum:    []apiextensionsv1.JSON{{Raw: []byte(`"slow"`)}, {Raw: []byte(`"fast"`)}},
		},
		"decks": mapOf("name", object([]string{"name"}, map[string]apiextensionsv1.JSONSchemaProps{
			"name": text, "seats": number,
		})),
	})
	condition := object([]string{"type", "status"}, map[string]apiextensionsv1.JSONSchemaProps{
		"type": text, "status": text, "reason": text, "message": text, "lastTransitionTime": text,
		"observedGeneration": number,
	})
	status := object(nil, map[string]apiextensionsv1.JSONSchemaProps{
		"observedGeneration": number, "seats": number, "conditions": mapOf("type", condition),
	})
	whole := object([]string{"spec"}, map[string]apiextensionsv1.JSONSchemaProps{"spec": spec, "status": status})
	return apiextensionsv1.CustomResourceDefinitionVersion{
		Name:    name,
		Served:  true,
		Storage: stored,
		Schema:  &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &whole},
		Subresources: &apiextensionsv1.CustomResourceSubresources{
			Status: &apiextensionsv1.CustomResourceSubresourceStatus{},
			Scale: &apiextensionsv1.CustomResourceSubresourceScale{
				SpecReplicasPath:   seatsAt,
				StatusReplicasPath: ".status.seats",
			},
		},
	}
}
