//! HTTPS for kubectl: listener, certificates, kubeconfig.
