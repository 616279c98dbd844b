//! What an image does when a simulated node pulls and runs it.
//!
//! Source: embedded-cluster.md 17.4.

use std::time::Duration;

use serde::Deserialize;

use super::digest::digest;
use super::inside::INDEX_PAGE;

/// What happens when a container of an image is started.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// How long a pull takes.
    pub pull: Duration,
    /// Does the pull fail, and how?
    pub fail: Option<PullFailure>,
    /// Does the container end by itself, and when?
    pub crash: Option<Crash>,
    /// When it has done its work, where pods are not started again for ever.
    pub done_after: Option<Duration>,
    /// From started to ready.
    pub ready_after: Duration,
    /// It never becomes ready.
    pub never_ready: bool,
    /// A container with a readiness probe is ready only while this file is there. It is there when the container starts.
    pub ready_file: Option<String>,
    /// There is nothing in it but its own program: a command that a pod gives cannot be started.
    pub bare: bool,
    /// What is in it, where other images may have the same: it stands for them in the digest.
    pub content: Option<String>,
    /// By which name the runtime calls a container of it, where that is not the name that it was asked for.
    pub reported_as: Option<String>,
    /// A container whose image had the same digest goes on when it is to run this one, under the new name.
    pub keeps_running: bool,
    /// Size of the image. Units: bytes.
    pub size: u64,
}

/// Why an image cannot be pulled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullFailure {
    /// There is no such image.
    NotFound,
    /// The registry refuses.
    Auth,
}

impl PullFailure {
    /// What the runtime says.
    pub(super) fn message(self, image: &str) -> String {
        match self {
            Self::NotFound => {
                format!(
                    "rpc error: code = NotFound desc = failed to pull and unpack image \"{image}\": not found"
                )
            }
            Self::Auth => format!(
                "rpc error: code = Unknown desc = failed to pull and unpack image \"{image}\": authorization failed"
            ),
        }
    }
}

/// A container that ends by itself.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Crash {
    /// How long after its start.
    pub after: Duration,
    /// Exit code.
    pub code: i32,
}

impl Profile {
    /// The digest of the image of this profile, as 64 hexadecimal digits.
    pub(super) fn digest(&self, image: &str) -> String {
        digest(self.content.as_deref().unwrap_or(image))
    }
}

/// A rule for the images that match a pattern, as annotations write it.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Rule {
    /// Image references; `*` stands for any text.
    pub image: String,
    /// How long a pull takes. Units: seconds.
    #[serde(default)]
    pub pull_seconds: Option<f64>,
    /// The pull fails.
    #[serde(default)]
    pub fail: Option<PullFailure>,
    /// The container ends so long after its start. Units: seconds.
    #[serde(default)]
    pub crash_after_seconds: Option<f64>,
    /// Where the restart policy is not `Always`, the container ends well so long after its start. Units: seconds.
    #[serde(default)]
    pub done_after_seconds: Option<f64>,
    /// From started to ready. Units: seconds.
    #[serde(default)]
    pub ready_after_seconds: Option<f64>,
    /// It never becomes ready.
    #[serde(default)]
    pub never_ready: bool,
    /// With a readiness probe it is ready only while this file is there: what `kubectl exec` moves away breaks the probe.
    #[serde(default)]
    pub ready_file: Option<String>,
    /// There is nothing in it but its own program, no shell and no `true`: a command that a pod gives cannot be started.
    #[serde(default)]
    pub bare: bool,
    /// What is in it, as any text: images of the same text have the same digest, as two tags of one image have.
    #[serde(default)]
    pub content: Option<String>,
    /// By which name the runtime calls a container of it: some report another tag of the same digest.
    #[serde(default)]
    pub reported_as: Option<String>,
    /// A container whose image had the same digest is not restarted for this name.
    #[serde(default)]
    pub keeps_running: bool,
}

impl Rule {
    fn named(image: &str) -> Self {
        Self {
            image: image.to_owned(),
            pull_seconds: None,
            fail: None,
            crash_after_seconds: None,
            done_after_seconds: None,
            ready_after_seconds: None,
            never_ready: false,
            ready_file: None,
            bare: false,
            content: None,
            reported_as: None,
            keeps_running: false,
        }
    }

    /// The rules of an annotation.
    ///
    /// # Errors
    /// It is not a JSON list of rules.
    pub fn parse_list(text: &str) -> Result<Vec<Self>, serde_json::Error> {
        serde_json::from_str(text)
    }
}

/// The rules that ship: images by which a person can make something fail, those that Jobs are made of, and those of which
/// the file is known that their probes ask for.
pub(super) fn shipped() -> Vec<Rule> {
    let tools = TOOLS
        .iter()
        .flat_map(|tool| [format!("{tool}*"), format!("*/{tool}*")]);
    let tools = tools.chain(["*:done".to_owned()]).map(|image| Rule {
        done_after_seconds: Some(1.0),
        ..Rule::named(&image)
    });
    let mut rules = failures();
    rules.extend(tools);
    rules.extend(["nginx*", "*/nginx*"].map(|image| Rule {
        ready_file: Some(INDEX_PAGE.to_owned()),
        ..Rule::named(image)
    }));
    rules
}

/// Images whose containers do one piece of work.
const TOOLS: [&str; 5] = ["alpine", "bash", "busybox", "hello-world", "perl"];

fn failures() -> Vec<Rule> {
    vec![
        Rule {
            fail: Some(PullFailure::NotFound),
            ..Rule::named("bad/*")
        },
        Rule {
            fail: Some(PullFailure::NotFound),
            ..Rule::named("*:bad")
        },
        Rule {
            fail: Some(PullFailure::Auth),
            ..Rule::named("private/*")
        },
        Rule {
            crash_after_seconds: Some(1.0),
            ..Rule::named("crash/*")
        },
        Rule {
            crash_after_seconds: Some(1.0),
            ..Rule::named("*:crash")
        },
        Rule {
            pull_seconds: Some(60.0),
            ..Rule::named("slow/*")
        },
        Rule {
            never_ready: true,
            ..Rule::named("unready/*")
        },
        Rule {
            never_ready: true,
            ..Rule::named("*:unready")
        },
        Rule {
            bare: true,
            ..Rule::named("distroless/*")
        },
        Rule {
            bare: true,
            ..Rule::named("*:distroless")
        },
    ]
}

/// Bandwidth of a node. Units: bytes per second. Source: embedded-cluster.md 17.4, 100 MB/s.
const BANDWIDTH: u64 = 100_000_000;

/// The profile of an image: the first rule that matches it, on top of a size by the image's name.
pub(super) fn of_image<'a>(image: &str, rules: impl IntoIterator<Item = &'a Rule>) -> Profile {
    let size = 50_000_000 + super::hash(image.as_bytes()) % 150_000_000;
    let pull = Duration::from_millis(size.saturating_mul(1000) / BANDWIDTH);
    let mut profile = Profile {
        pull,
        fail: None,
        crash: None,
        done_after: None,
        ready_after: Duration::ZERO,
        never_ready: false,
        ready_file: None,
        bare: false,
        content: None,
        reported_as: None,
        keeps_running: false,
        size,
    };

    if let Some(rule) = rules.into_iter().find(|rule| matches(&rule.image, image)) {
        let seconds = |value: Option<f64>| value.and_then(|s| Duration::try_from_secs_f64(s).ok());
        profile.pull = seconds(rule.pull_seconds).unwrap_or(profile.pull);
        profile.fail = rule.fail;
        profile.crash = seconds(rule.crash_after_seconds).map(|after| Crash { after, code: 1 });
        profile.done_after = seconds(rule.done_after_seconds);
        profile.ready_after = seconds(rule.ready_after_seconds).unwrap_or_default();
        profile.never_ready = rule.never_ready;
        profile.ready_file.clone_from(&rule.ready_file);
        profile.bare = rule.bare;
        profile.reported_as.clone_from(&rule.reported_as);
        profile.keeps_running = rule.keeps_running;
        profile.content.clone_from(&rule.content);
    }
    profile
}

/// Does a pattern, in which `*` stands for any text, match?
fn matches(pattern: &str, text: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else {
        return pattern == text;
    };
    let Some(mut text) = text.strip_prefix(first) else {
        return false;
    };
    let parts: Vec<&str> = rest.split('*').collect();
    let Some((last, middle)) = parts.split_last() else {
        return true;
    };
    for part in middle {
        let Some(at) = text.find(part) else { return false };
        text = text.get(at + part.len()..).unwrap_or_default();
    }
    text.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_match_images() {
        for (pattern, image, want) in [
            ("bad/*", "bad/nginx:1", true),
            ("bad/*", "nginx:bad", false),
            ("*:bad", "nginx:bad", true),
            ("*:bad", "nginx:bad1", false),
            ("a*b*c", "a-b-c", true),
            ("a*b*c", "a-c", false),
            ("nginx", "nginx", true),
            ("*", "anything", true),
        ] {
            assert_eq!(matches(pattern, image), want, "{pattern} {image}");
        }
    }

    #[test]
    fn tools_do_one_piece_of_work() {
        let cases = [
            ("busybox", true),
            ("busybox:1.28", true),
            ("docker.io/library/perl:5.34", true),
            ("example.org/backup:done", true),
            ("nginx:1.19.4", false),
        ];
        for (image, is_tool) in cases {
            assert_eq!(
                of_image(image, &shipped()).done_after.is_some(),
                is_tool,
                "{image}"
            );
        }
    }

    #[test]
    fn the_first_rule_counts_and_sizes_are_stable() {
        let shipped = shipped();
        assert_eq!(of_image("bad/nginx", &shipped).fail, Some(PullFailure::NotFound));
        assert_eq!(of_image("nginx:1.19.4", &shipped).fail, None);
        let own = Rule::parse_list(r#"[{"image":"nginx:*","fail":"auth"}]"#).unwrap();
        assert_eq!(
            of_image("nginx:1.19.4", own.iter().chain(&shipped)).fail,
            Some(PullFailure::Auth)
        );
        let (one, two) = (
            of_image("nginx:1.19.4", &shipped),
            of_image("nginx:1.19.4", &shipped),
        );
        assert_eq!(one, two);
        assert!(
            (500..=2000).contains(&u64::try_from(one.pull.as_millis()).unwrap()),
            "{:?}",
            one.pull
        );
        assert!(Rule::parse_list(r#"[{"image":"x","sleep":1}]"#).is_err());
    }
}
