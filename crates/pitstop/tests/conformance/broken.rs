//! Does the suite find what a server does wrong? Servers that are broken in one way each play the sequences that are
//! about it, and are compared with what the real server has answered.

use std::io::Write as _;
use std::time::Instant;

use futures::{StreamExt as _, stream};
use pitstop_cluster::{Cluster, Config, Defect};

use crate::exceptions::Exceptions;
use crate::play::Side;
use crate::sequence::{Class, Sequence};
use crate::{AT_A_TIME, Outcome, compare, normal};

/// Each with the class of sequences that must find it.
const DEFECTS: [(Defect, Class); 18] = [
    (Defect::StaleWrite, Class::Update),
    (Defect::ForgottenDefault, Class::Create),
    (Defect::ConflictCode, Class::Create),
    (Defect::ForcedApply, Class::Apply),
    (Defect::NoBookmark, Class::Watch),
    (Defect::NotEqualIsEqual, Class::Selector),
    (Defect::DeletesOtherUid, Class::Delete),
    (Defect::PageSkipsOne, Class::Paging),
    (Defect::ShortSuffix, Class::GenerateName),
    (Defect::LooseStrict, Class::Strict),
    (Defect::WetDryRun, Class::DryRun),
    (Defect::WeakFinalizers, Class::Finalizer),
    (Defect::StatusByUpdate, Class::Subresource),
    (Defect::StuckGeneration, Class::Update),
    (Defect::MutableFields, Class::Update),
    (Defect::PassingTest, Class::Patch),
    (Defect::LostColumn, Class::Table),
    (Defect::OwnGrace, Class::Delete),
];

/// The defects that no sequence notices. Those of classes that were not played are left out.
pub(crate) async fn unnoticed(
    sequences: &[Sequence],
    outcomes: &[Outcome],
    exceptions: &Exceptions,
) -> Vec<String> {
    let began = Instant::now();
    let mut unnoticed = Vec::new();
    let mut found = 0;
    let mut told = 0;
    for (defect, class) in DEFECTS {
        let about: Vec<(&Sequence, &Outcome)> = sequences
            .iter()
            .filter(|sequence| sequence.class == class)
            .filter_map(|sequence| {
                let outcome = outcomes.iter().find(|outcome| outcome.name == sequence.name)?;
                Some((sequence, outcome))
            })
            .collect();
        if about.is_empty() {
            continue;
        }
        let cluster = Cluster::start(Config::default()).await.unwrap();
        let broken = Side::of(cluster.client()).broken_by(defect);
        let played = stream::iter(about).map(async |(sequence, real)| {
            let mut answers = broken.play(sequence).await;
            normal::normalise(&mut answers);
            Outcome {
                name: sequence.name.clone(),
                class,
                requests: answers.len(),
                differences: compare::answers(&answers, &real.real),
                real: Vec::new(),
            }
        });
        let played: Vec<Outcome> = played.buffered(AT_A_TIME).collect().await;
        let failures = exceptions.judge(&played).len();
        if failures == 0 {
            unnoticed.push(format!("no sequence notices {defect:?}"));
        } else {
            found += 1;
            told += failures;
        }
        cluster.shutdown().await;
    }
    let _ = writeln!(
        std::io::stderr(),
        "{found} of {} defects are found, {told} failures tell of them, {:.1} s",
        DEFECTS.len(),
        began.elapsed().as_secs_f64()
    );
    unnoticed
}
