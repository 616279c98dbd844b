//go:build tools

// Package kwok pins kwok, which simulates nodes too, so that its modules stay in go.mod. Nothing of it is linked into
// pitstop: an end-to-end suite starts it on the embedded API server, to see that it runs there unmodified.
package kwok

import _ "sigs.k8s.io/kwok/cmd/kwok"
