// Command kubectl is the unmodified kubectl of Kubernetes 1.34, built from its published module.
// The end-to-end suites use it on machines that have none; nothing that users of pitstop run depends on it.
package main

import (
	"k8s.io/component-base/cli"
	"k8s.io/kubectl/pkg/cmd"
	"k8s.io/kubectl/pkg/cmd/util"
)

func main() {
	if err := cli.RunNoErrOutput(cmd.NewDefaultKubectlCommand()); err != nil {
		util.CheckErr(err)
	}
}
