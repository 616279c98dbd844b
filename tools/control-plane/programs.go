//go:build tools

// Package controlplane pins the programs of a real Kubernetes control plane, so that their modules stay in go.mod.
// Nothing of it is linked into pitstop: the end-to-end suites start these programs as processes of their own.
package controlplane

import (
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kube-controller-manager"
	_ "k8s.io/kubernetes/cmd/kube-scheduler"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
