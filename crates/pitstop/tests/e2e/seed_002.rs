//! The manifest of seed 002, as it is written there.

/// Five instances, of which three work.
pub(crate) const FIRST: &str = "\
apiVersion: apps.kruise.io/v1beta1
kind: StatefulSet
metadata:
  name: sample
spec:
  replicas: 5
  serviceName: fake-service
  selector:
    matchLabels:
      app: sample
  template:
    metadata:
      labels:
        app: sample
        working: \"false\"
    spec:
      readinessGates:
      - conditionType: InPlaceUpdateReady
      containers:
      - name: main
        image: alpine:3.18.2
        command: ['sleep', '3600']
  podManagementPolicy: Parallel
  updateStrategy:
    rollingUpdate:
      partition: 3
      unorderedUpdate:
        priorityStrategy:
          weightPriority:
          - weight: 30
            matchSelector:
              matchLabels:
                working: \"true\"
          - weight: 50
            matchSelector:
              matchLabels:
                working: \"false\"
";

/// The image of the manifest, and the one that it is changed to.
pub(crate) const IMAGES: (&str, &str) = ("alpine:3.18.2", "alpine:3.18.0");
