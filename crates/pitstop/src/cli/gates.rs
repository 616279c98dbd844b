//! What is switched on or off for all workloads, for commands that run controllers.

use clap::Args;
use pitstop_engine::feature_gates::FeatureGates;

/// What is switched on or off for all workloads.
#[derive(Debug, Clone, Default, Args)]
pub struct Gates {
    /// Switch features on or off, as NAME=true,OTHER=false; `pitstop controller --help` lists them
    #[arg(
        long,
        value_name = "GATES",
        env = "PITSTOP_FEATURE_GATES",
        hide_env = true,
        default_value = "",
        hide_default_value = true
    )]
    pub feature_gates: FeatureGates,
    /// Pods of CloneSets that prepare for their deletion are no replicas
    #[arg(
        long,
        env = "PITSTOP_CLONESET_SCALING_EXCLUDE_PREPARING_DELETE",
        hide_env = true
    )]
    pub cloneset_scaling_exclude_preparing_delete: bool,
}

/// The features, for the end of a help text.
#[must_use]
pub fn list() -> String {
    format!("Features:\n{}", FeatureGates::help())
}

impl Gates {
    /// Tells controllers.
    pub fn set(self, config: &mut pitstop_controller::Config) {
        config.set_gates(self.feature_gates);
        config.allowed.clonesets.excludes_preparing_delete = self.cloneset_scaling_exclude_preparing_delete;
    }
}
