package main

import (
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/record"
)

func eventChecks() []check {
	return []check{
		{name: "events/core-recorder", run: recordCore},
		{name: "events/events-recorder", run: recordNew},
		{name: "events/one-store", run: readBothWays},
		{name: "events/validation", run: refuseEvents},
	}
}

// onlyEvent returns the one event about an object, as core/v1 shows it, or nil while there is none.
func (t *trial) onlyEvent(about *corev1.ConfigMap) *corev1.Event {
	options := metav1.ListOptions{FieldSelector: "involvedObject.uid=" + string(about.UID)}
	found := must(t.typed().CoreV1().Events(t.namespace).List(t, options)).Items
	if len(found) == 0 {
		return nil
	}
	expect("events about the object", 1, len(found))
	return &found[0]
}

// recordCore says the same thing twice: client-go counts by patching the event.
func recordCore(t *trial) {
	about := create(t, t.configMap("subject"))
	broadcaster := record.NewBroadcaster(record.WithContext(t))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: t.typed().CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "clients", Host: "here"})
	recorder.Eventf(about, corev1.EventTypeWarning, "Tried", "attempt %d", 1)
	t.within(func() error { return differs("the event is there", true, t.onlyEvent(about) != nil) })
	recorder.Eventf(about, corev1.EventTypeWarning, "Tried", "attempt %d", 1)
	t.within(func() error { return differs("count", int32(2), t.onlyEvent(about).Count) })
	event := t.onlyEvent(about)
	expect("message", "attempt 1", event.Message)
	expect("reason", "Tried", event.Reason)
	expect("type", "Warning", event.Type)
	expect("component", "clients", event.Source.Component)
	expect("kind", "ConfigMap", event.InvolvedObject.Kind)
	expect("reporting component", "clients", event.ReportingController)
	expectTrue("times in order", !event.LastTimestamp.Before(&event.FirstTimestamp), event)
}

// recordNew says the same thing twice: client-go makes it a series by patching the event.
func recordNew(t *trial) {
	about := create(t, t.configMap("subject"))
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: t.typed().EventsV1()})
	defer broadcaster.Shutdown()
	done(broadcaster.StartRecordingToSinkWithContext(t))
	recorder := broadcaster.NewRecorder(scheme.Scheme, "clients.pitstop.io/recorder")
	recorder.Eventf(about, nil, corev1.EventTypeNormal, "Tried", "Trying", "attempt %d", 1)
	t.within(func() error { return differs("the event is there", true, t.onlyEvent(about) != nil) })
	recorder.Eventf(about, nil, corev1.EventTypeNormal, "Tried", "Trying", "attempt %d", 1)
	t.within(func() error { return differs("a series", true, t.onlyEvent(about).Series != nil) })
	event := t.onlyEvent(about)
	expect("count of the series", int32(2), event.Series.Count)
	expect("message", "attempt 1", event.Message)
	expect("action", "Trying", event.Action)
	expect("reporting controller", "clients.pitstop.io/recorder", event.ReportingController)
	expectTrue("an event time", !event.EventTime.IsZero(), event)
}

// readBothWays writes an event in each API and reads it in the other.
func readBothWays(t *trial) {
	client := t.typed()
	about := create(t, t.configMap("subject"))
	reference := corev1.ObjectReference{
		APIVersion: "v1", Kind: "ConfigMap", Namespace: t.namespace, Name: about.Name, UID: about.UID,
	}
	now := metav1.NowMicro()
	must(client.EventsV1().Events(t.namespace).Create(t, &eventsv1.Event{
		ObjectMeta: t.meta("new"), EventTime: now, Regarding: reference, Reason: "New", Note: "written in events.k8s.io",
		Type: corev1.EventTypeNormal, Action: "Write", ReportingController: "clients.pitstop.io/x", ReportingInstance: "x",
	}, metav1.CreateOptions{}))
	core := must(client.CoreV1().Events(t.namespace).Get(t, "new", metav1.GetOptions{}))
	expect("message", "written in events.k8s.io", core.Message)
	expect("involved object", string(about.UID), string(core.InvolvedObject.UID))
	expect("event time", now.UnixMicro(), core.EventTime.UnixMicro())
	must(client.CoreV1().Events(t.namespace).Create(t, &corev1.Event{
		ObjectMeta: t.meta("old"), InvolvedObject: reference, Reason: "Old", Message: "written in core", Count: 3,
		Type: corev1.EventTypeWarning, Source: corev1.EventSource{Component: "clients"},
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(),
	}, metav1.CreateOptions{}))
	shown := must(client.EventsV1().Events(t.namespace).Get(t, "old", metav1.GetOptions{}))
	expect("note", "written in core", shown.Note)
	expect("deprecated count", int32(3), shown.DeprecatedCount)
	expect("regarding", string(about.UID), string(shown.Regarding.UID))
	expect("deprecated source", "clients", shown.DeprecatedSource.Component)
	for selector, want := range map[string]int{
		"reason=New": 1, "type=Warning": 1, "regarding.uid=" + string(about.UID): 2, "regarding.kind=Pod": 0,
	} {
		list := must(client.EventsV1().Events(t.namespace).List(t, metav1.ListOptions{FieldSelector: selector}))
		expect("events with "+selector, want, len(list.Items))
	}
	for selector, want := range map[string]int{
		"reason=New": 1, "involvedObject.name=subject,involvedObject.kind=ConfigMap": 2, "source=clients": 1,
		"reportingComponent=clients.pitstop.io/x": 1,
	} {
		list := must(client.CoreV1().Events(t.namespace).List(t, metav1.ListOptions{FieldSelector: selector}))
		expect("events with "+selector, want, len(list.Items))
	}
}

func refuseEvents(t *trial) {
	client := t.typed()
	_, err := client.CoreV1().Events(t.namespace).Create(t, &corev1.Event{
		ObjectMeta: t.meta("stray"), InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: "elsewhere", Name: "p"},
	}, metav1.CreateOptions{})
	invalid("involvedObject.namespace", err)
	event := &eventsv1.Event{
		ObjectMeta: t.meta("event"), Regarding: corev1.ObjectReference{Kind: "Pod", Namespace: t.namespace, Name: "p"},
	}
	events := client.EventsV1().Events(t.namespace)
	_, err = events.Create(t, event, metav1.CreateOptions{})
	invalid("eventTime,type", err)
	event.EventTime = metav1.NowMicro()
	event.Type = corev1.EventTypeNormal
	event.ReportingController = "a b"
	event.DeprecatedCount = 1
	_, err = events.Create(t, event, metav1.CreateOptions{})
	invalid("reportingController,reportingInstance,action,reason,count", err)
	event.ReportingController, event.ReportingInstance = "clients.pitstop.io/x", "x"
	event.Action, event.Reason, event.DeprecatedCount = "Look", "Looked", 0
	event = must(events.Create(t, event, metav1.CreateOptions{}))
	event.Series = &eventsv1.EventSeries{Count: 1}
	event.Reason, event.Note = "Other", "other"
	_, err = events.Update(t, event, metav1.UpdateOptions{})
	invalid("series.count,series.lastObservedTime,reason,message", err)
}
