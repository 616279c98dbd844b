// Command clients exercises an API server as programs written with client-go and controller-runtime do.
//
// It prints one line for each check and exits with 1 if one failed, with 2 if it could not begin.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"slices"
	"syscall"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
)

func main() {
	os.Exit(run())
}

func run() int {
	flags := flag.NewFlagSet("clients", flag.ExitOnError)
	kubeconfig := flags.String("kubeconfig", os.Getenv("KUBECONFIG"), "the cluster to exercise")
	pattern := flags.String("run", "", "run only checks whose name matches this regular expression")
	limit := flags.Duration("timeout", time.Minute, "how long one check may take")
	klog.InitFlags(flags)
	_ = flags.Parse(os.Args[1:])
	ctrl.SetLogger(klog.Background())

	chosen, err := regexp.Compile(*pattern)
	if err != nil {
		return cannotBegin(err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", *kubeconfig)
	if err != nil {
		return cannotBegin(err)
	}
	// Checks are to be bounded by the server, not by the client's own rate limit.
	config.QPS = -1
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()

	checks := slices.DeleteFunc(allChecks(), func(c check) bool { return !chosen.MatchString(c.name) })
	if len(checks) == 0 {
		return cannotBegin(fmt.Errorf("no check has a name that matches %q", *pattern))
	}
	if !newRunner(config, *limit).runAll(ctx, checks) {
		return 1
	}
	return 0
}

func cannotBegin(err error) int {
	fmt.Fprintln(os.Stderr, "error:", err)
	return 2
}

func allChecks() []check {
	return slices.Concat(
		discoveryChecks(),
		objectChecks(),
		ruleChecks(),
		patchChecks(),
		deletionChecks(),
		listChecks(),
		watchChecks(),
		informerChecks(),
		electionChecks(),
		eventChecks(),
		managerChecks(),
		customChecks(),
	)
}
