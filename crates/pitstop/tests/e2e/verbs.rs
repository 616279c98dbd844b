//! Every verb of kubectl, played on the embedded cluster and on a real one: it must say the same. Source:
//! embedded-cluster.md 19.
//!
//! `verbs.txt` is the play. A line `$ ...` is a command, with words in single quotes as a shell has them; lines before it that
//! begin with `|` are its input. Two spaces after the `$` mean that it may fail. What differs by nature, such as ages, uids
//! and addresses, is replaced before the texts are compared, and that is all.

use regex::Regex;

use crate::real::Plane;
use crate::world::{World, kubectl_is_there};

const PLAY: &str = include_str!("verbs.txt");

/// One command of the play.
struct Line<'a> {
    text: &'a str,
    arguments: Vec<String>,
    input: String,
    may_fail: bool,
}

#[tokio::test(flavor = "multi_thread")]
async fn kubectl_says_the_same_of_both_servers() {
    if !kubectl_is_there() {
        return;
    }
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    let nodes = ["node-1", "node-2"];
    let real = World::real(plane, kubectl.clone(), &nodes, None).await;
    let embedded = World::guarded(&nodes).await.with_kubectl(kubectl);
    let lines = lines(PLAY);
    let masks = masks();
    let mut differences = Vec::new();
    for line in &lines {
        let mut arguments = vec!["--namespace=play"];
        arguments.extend(line.arguments.iter().map(String::as_str));
        let (ours, theirs) = tokio::join!(
            embedded.kubectl_with(&arguments, &line.input),
            real.kubectl_with(&arguments, &line.input)
        );
        if !line.may_fail && !theirs.status.success() {
            differences.push(format!("{}\n--- should not fail\n{}\n", line.text, theirs.stderr));
        }
        let shown = |said: &crate::world::Said| {
            let text = format!("{}{}", said.stdout, said.stderr);
            (said.status.code(), masked(&masks, &text))
        };
        let (ours, theirs) = (shown(&ours), shown(&theirs));
        if ours != theirs {
            differences.push(format!(
                "{}\n--- embedded, {:?}\n{}\n--- real, {:?}\n{}\n",
                line.text, ours.0, ours.1, theirs.0, theirs.1
            ));
        }
    }
    assert!(
        differences.is_empty(),
        "{} commands, {} differences\n{}",
        lines.len(),
        differences.len(),
        differences.join("\n")
    );
    embedded.stop().await;
    real.stop().await;
}

/// The commands of a play.
fn lines(play: &str) -> Vec<Line<'_>> {
    let mut lines = Vec::new();
    let mut input = String::new();
    for text in play.lines() {
        if let Some(text) = text.strip_prefix('|') {
            input.push_str(text.strip_prefix(' ').unwrap_or(text));
            input.push('\n');
        } else if let Some(command) = text.strip_prefix("$ ") {
            lines.push(Line {
                text,
                arguments: words(command),
                input: std::mem::take(&mut input),
                may_fail: command.starts_with(' '),
            });
        }
    }
    assert!(input.is_empty(), "input without a command");
    lines
}

/// The words of a command, as a shell divides them.
fn words(command: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quoted = false;
    for c in command.chars() {
        match c {
            '\'' => {
                quoted = !quoted;
                word.get_or_insert_default();
            }
            ' ' if !quoted => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    assert!(!quoted, "an open quote in {command}");
    words.extend(word);
    words
}

/// What differs by nature, and what stands for it.
fn masks() -> Vec<(Regex, &'static str)> {
    [
        (
            r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
            "UID",
        ),
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (
            r"[A-Z][a-z]{2}, \d\d [A-Z][a-z]{2} \d{4} \d\d:\d\d:\d\d [+-]\d{4}",
            "TIME",
        ),
        (r#"resourceVersion("?): "?\d+"?"#, "resourceVersion: N"),
        (r"https://(127\.0\.0\.1|localhost|\[::1\]):\d+", "URL"),
        (r"\b(10|127|192)\.\d+\.\d+\.\d+\b", "IP"),
        // Files of `diff`.
        (r"(LIVE|MERGED)-\d+", "$1"),
        // Before ages: such a suffix may look like one.
        (r"-[bcdfghjklmnpqrstvwxz2456789]{5}\b", "-XXXXX"),
        // Ages, alone or with a count: `4s`, `2m3s (x3 over 5m)`, `<invalid>`.
        (r"\b(\d+[smhd])+\b( \(x\d+ over (\d+[smhd])+\))?|<invalid>", "AGE"),
        (r"(containerd|docker|cri-o)://\S+", "CONTAINER"),
        // Names of revisions follow from how Go prints a template.
        (r"\bweb-[bcdfghjklmnpqrstvwxz2456789]{8,10}\b", "web-REVISION"),
        (r"(nodePort: |80:)3\d{4}\b", "${1}PORT"),
        (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d+ [+-]\d{4}", "TIME"),
        // What was seen on the way, and in which order.
        (
            r"(?m)^(Waiting for |evicting pod |pod/\S+ evicted|Warning: (ignoring|deleting) ).*\n",
            "",
        ),
        // What the embedded server calls itself, what it warns of besides, and what it does not serve: the group of
        // servers that it does not aggregate.
        (r"\+pitstop\b", ""),
        (r"(?m)^Warning: stored, but no controller acts on it\n", ""),
        (r"(?m)^apiregistration\.k8s\.io/v1\n", ""),
        // The kinds that pitstop brings.
        (r"(?m)^apps\.kruise\.io/.*\n", ""),
        // Columns are as wide as what was in them.
        (r"[ \t]+", " "),
        // A real server looks every 3 minutes whether the addresses of services are allocated, and may look between the
        // two writes of a creation.
        (r"(?m)^ Warning ClusterIPNotAllocated .*\n", ""),
        (r"Events:\n Type .*\n ----.*\n(\n|$)", "Events: <none>\n$1"),
    ]
    .map(|(pattern, mask)| (Regex::new(pattern).unwrap(), mask))
    .into()
}

fn masked(masks: &[(Regex, &'static str)], text: &str) -> String {
    masks.iter().fold(text.to_owned(), |text, (pattern, mask)| {
        pattern.replace_all(&text, *mask).into_owned()
    })
}

#[test]
fn a_play_is_divided_into_commands_and_words() {
    let play = "# words\n| a: 1\n|   b\n$ apply -f -\n$  get x -o 'jsonpath={.a} b'\n";
    let lines = lines(play);
    assert_eq!(lines[0].arguments, ["apply", "-f", "-"]);
    assert_eq!(lines[0].input, "a: 1\n  b\n");
    assert_eq!(lines[1].arguments, ["get", "x", "-o", "jsonpath={.a} b"]);
    assert_eq!((lines[0].may_fail, lines[1].may_fail), (false, true));
}

#[test]
fn a_look_of_the_address_allocator_is_no_difference() {
    let text = "Traffic Policy:  Cluster\nEvents:\n  Type     Reason  Age  From  Message\n  ----     ------  ---  ----  -------\n  \
                Warning  ClusterIPNotAllocated  1s  ipallocator-repair-controller  Cluster IP [IPv4]: x is not allocated\n";
    assert_eq!(
        masked(&masks(), text),
        "Traffic Policy: Cluster\nEvents: <none>\n"
    );
    let other = "Events:\n Type Reason\n ---- ----\n Normal Killing\n";
    assert_eq!(masked(&masks(), other), other);
}
