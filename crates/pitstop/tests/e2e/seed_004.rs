//! The manifests of seed 004, as they are written there.

/// Section 1.
pub(crate) const FIRST: &str = "\
apiVersion: apps.kruise.io/v1alpha1
kind: CloneSet
metadata:
  name: nginxweb1
  namespace: default
spec:
  replicas: 5
  selector:
    matchLabels:
      app: nginxweb1
  template:
    metadata:
      labels:
        app: nginxweb1
    spec:
      containers:
      - name: nginx
        image: nginx:perl
        imagePullPolicy: IfNotPresent
        ports:
        - containerPort: 80
";

/// Section 2.
pub(crate) const SECOND: &str = "\
apiVersion: apps.kruise.io/v1alpha1
kind: CloneSet
metadata:
  name: nginxweb1
  namespace: default
spec:
  minReadySeconds: 30
  updateStrategy: #添加更新策略
    type: InPlaceIfPossible
  scaleStrategy:
    maxUnavailable: 1
  replicas: 4
  selector:
    matchLabels:
      app: nginxweb1
  template:
    metadata:
      labels:
        app: nginxweb1
    spec:
      containers:
      - name: nginx
        image: nginx:latest #更换镜像版本
        imagePullPolicy: IfNotPresent
        ports:
        - containerPort: 80
";
