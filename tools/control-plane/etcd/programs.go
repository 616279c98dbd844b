//go:build tools

// Package etcd pins the etcd in which the control plane of the end-to-end suites stores its objects.
package etcd

import _ "go.etcd.io/etcd/server/v3"
