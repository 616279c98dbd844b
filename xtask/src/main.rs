//! Chores of the repository: `cargo xtask control-plane`, `cargo xtask kwok`.
#![allow(clippy::print_stdout, reason = "the folder is what scripts read")]

use anyhow::{Result, bail};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["control-plane"] => {
            println!("{}", xtask::control_plane::provide(&xtask::root())?.display());
            Ok(())
        }
        ["kwok"] => {
            println!("{}", xtask::kwok::provide(&xtask::root())?.display());
            Ok(())
        }
        _ => bail!(
            "usage: cargo xtask control-plane | kwok\n\n\
             Builds etcd, kube-apiserver, kube-controller-manager, kube-scheduler and kubectl for the end-to-end\n\
             suites, unless they are in the cache or KUBEBUILDER_ASSETS names a folder that has them, and prints the\n\
             folder: export KUBEBUILDER_ASSETS=$(cargo xtask control-plane)\n\n\
             kwok: builds that simulator of nodes, for the suite that runs it on the embedded API server."
        ),
    }
}
