//! Commands that a simulated container knows, and the small part of a shell that people type.

use super::files::{FileError, Files, normal};

/// The code of a command that cannot be run. Source: embedded-cluster.md 10.7.
const CANNOT_RUN: u8 = 126;
/// Shells within shells at most.
const MAX_DEPTH: u8 = 4;

/// What a command sees of its container.
#[derive(Debug)]
pub(in super::super) struct Inside<'a> {
    pub(in super::super) files: &'a mut Files,
    pub(in super::super) image: &'a str,
    pub(in super::super) hostname: &'a str,
    /// Variables that the pod sets.
    pub(in super::super) variables: Vec<(&'a str, &'a str)>,
}

/// What a command said, and how it ended.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in super::super) struct Said {
    pub(in super::super) stdout: String,
    pub(in super::super) stderr: String,
    pub(in super::super) code: u8,
    /// It told the shell to end.
    pub(in super::super) has_exited: bool,
}

impl Said {
    fn out(stdout: impl Into<String>) -> Self {
        Self {
            stdout: stdout.into(),
            ..Self::default()
        }
    }

    fn lines(lines: impl Iterator<Item = String>) -> Self {
        Self::out(lines.flat_map(|line| [line, "\n".to_owned()]).collect::<String>())
    }

    fn code(code: u8) -> Self {
        Self {
            code,
            ..Self::default()
        }
    }

    fn failed(code: u8, why: impl std::fmt::Display) -> Self {
        Self {
            stderr: format!("{why}\n"),
            code,
            ..Self::default()
        }
    }

    fn not_here(command: &str) -> Self {
        let why = format!("{command}: no real container runs here, and the simulated one does not know this");
        Self::failed(CANNOT_RUN, why)
    }

    /// Adds what came next.
    fn follow(&mut self, next: &Self) {
        self.stdout.push_str(&next.stdout);
        self.stderr.push_str(&next.stderr);
        self.code = next.code;
        self.has_exited |= next.has_exited;
    }
}

/// When a command of a script runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum When {
    Always,
    AfterSuccess,
    AfterFailure,
}

/// A command of a script.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Command {
    when: When,
    words: Vec<String>,
    /// Where stdout goes, and whether it is added there.
    stdout: Option<(String, bool)>,
    stderr: Stderr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stderr {
    Shown,
    Dropped,
    WithStdout,
}

impl Inside<'_> {
    /// Runs a command as `exec` gives it: words, without a shell.
    pub(in super::super) fn run(&mut self, words: &[String]) -> Said {
        self.command(words, 0)
    }

    fn command(&mut self, words: &[String], depth: u8) -> Said {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let Some((program, arguments)) = words.split_first() else {
            return Said::default();
        };
        let name = program.rsplit('/').next().unwrap_or(program);
        let flags = |known: &str| -> (String, Vec<&str>) {
            let is_flag = |word: &&str| {
                word.len() > 1
                    && word
                        .strip_prefix('-')
                        .is_some_and(|f| f.chars().all(|c| known.contains(c)))
            };
            let (given, rest): (Vec<&str>, Vec<&str>) = arguments.iter().copied().partition(is_flag);
            (
                given.concat(),
                rest.into_iter().filter(|word| *word != "--").collect(),
            )
        };
        match (name, arguments) {
            ("true" | ":", _) => Said::default(),
            ("false", _) => Said::code(1),
            ("exit", _) => {
                let code = arguments.first().and_then(|code| code.parse().ok());
                Said {
                    code: code.unwrap_or_default(),
                    has_exited: true,
                    ..Said::default()
                }
            }
            ("echo", ["-n", rest @ ..]) => Said::out(rest.join(" ")),
            ("echo", rest) => Said::out(format!("{}\n", rest.join(" "))),
            ("hostname", []) => Said::out(format!("{}\n", self.hostname)),
            ("pwd", []) => Said::out("/\n"),
            ("whoami", []) => Said::out("root\n"),
            ("id", []) => Said::out("uid=0(root) gid=0(root) groups=0(root)\n"),
            ("env" | "printenv", []) => {
                let all = self.environment();
                Said::lines(all.iter().map(|(name, value)| format!("{name}={value}")))
            }
            ("printenv", [variable]) => match self.variable(variable) {
                Some(value) => Said::out(format!("{value}\n")),
                None => Said::code(1),
            },
            ("nginx", [flag @ ("-v" | "-V")]) if image_name(self.image) == "nginx" => {
                let _ = flag;
                Said::failed(
                    0,
                    format_args!("nginx version: nginx/{}", nginx_version(self.image)),
                )
            }
            ("cat", files) if !files.is_empty() => each(files, |file| self.cat(file)),
            ("ls", _) => {
                let (flags, paths) = flags("1aAlhtr");
                let paths = if paths.is_empty() { vec!["/"] } else { paths };
                each(&paths, |path| self.ls(path, flags.contains('a')))
            }
            ("touch", files) if !files.is_empty() => each(files, |file| {
                let path = normal("/", file);
                let done = if self.files.exists(&path) {
                    Ok(())
                } else {
                    self.files.write(&path, "", false)
                };
                outcome("touch", file, done)
            }),
            ("rm", _) => {
                let (flags, paths) = flags("rRf");
                each(&paths, |path| {
                    let done = self.files.remove(&normal("/", path), flags.contains(['r', 'R']));
                    match done {
                        Err(FileError::Missing) if flags.contains('f') => Said::default(),
                        done => outcome("rm", path, done),
                    }
                })
            }
            ("mkdir", _) => {
                let (flags, paths) = flags("p");
                each(&paths, |path| {
                    outcome(
                        "mkdir",
                        path,
                        self.files.make_folder(&normal("/", path), flags.contains('p')),
                    )
                })
            }
            ("mv" | "cp", _) => {
                let (_, paths) = flags("frRnap");
                self.transfer(name, &paths)
            }
            ("test", rest) | ("[", [rest @ .., "]"]) => self.test(rest),
            (_, ["-c" | "-ec" | "-ce" | "-lc", script, ..]) if is_shell(name) => {
                if depth >= MAX_DEPTH {
                    return Said::not_here(name);
                }
                let mut said = self.script(script, depth + 1);
                said.has_exited = false;
                said
            }
            _ => Said::not_here(program),
        }
    }

    /// Runs a script. One that uses more of a shell than is known here does nothing at all.
    fn script(&mut self, script: &str, depth: u8) -> Said {
        let lookup = |name: &str| self.variable(name).unwrap_or_default();
        let commands = match parse(script, &lookup) {
            Ok(commands) => commands,
            Err(unknown) => return Said::not_here(&unknown),
        };
        let mut all = Said::default();
        for command in commands {
            let is_due = match command.when {
                When::Always => true,
                When::AfterSuccess => all.code == 0,
                When::AfterFailure => all.code != 0,
            };
            if !is_due {
                continue;
            }
            let mut said = self.command(&command.words, depth);
            match command.stderr {
                Stderr::Shown => {}
                Stderr::Dropped => said.stderr.clear(),
                Stderr::WithStdout => {
                    let text = std::mem::take(&mut said.stderr);
                    said.stdout.push_str(&text);
                }
            }
            if let Some((path, add)) = &command.stdout {
                let text = std::mem::take(&mut said.stdout);
                if path != "/dev/null"
                    && let Err(error) = self.files.write(&normal("/", path), &text, *add)
                {
                    said = Said::failed(1, format_args!("sh: {path}: {error}"));
                }
            }
            all.follow(&said);
            if all.has_exited {
                break;
            }
        }
        all
    }

    fn environment(&self) -> Vec<(&str, &str)> {
        let mut all = vec![
            (
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            ),
            ("HOSTNAME", self.hostname),
        ];
        all.extend(self.variables.iter().copied());
        all.push(("HOME", "/root"));
        all
    }

    fn variable(&self, name: &str) -> Option<String> {
        let all = self.environment();
        let found = all.iter().rev().find(|(known, _)| *known == name);
        found.map(|(_, value)| (*value).to_owned())
    }

    fn cat(&self, file: &str) -> Said {
        match self.files.read(&normal("/", file)) {
            Ok(content) => Said::out(content),
            Err(error) => outcome("cat", file, Err(error)),
        }
    }

    fn ls(&self, path: &str, all: bool) -> Said {
        let at = normal("/", path);
        match self.files.list(&at) {
            Ok(names) => {
                let shown = names.iter().filter(|name| all || !name.starts_with('.'));
                Said::lines(shown.map(ToString::to_string))
            }
            Err(FileError::NotFolder) => Said::out(format!("{path}\n")),
            Err(error) => outcome("ls", path, Err(error)),
        }
    }

    fn transfer(&mut self, command: &str, paths: &[&str]) -> Said {
        let Some((to, from)) = paths.split_last().filter(|(_, from)| !from.is_empty()) else {
            return Said::failed(1, format_args!("{command}: missing file operand"));
        };
        let target = normal("/", to);
        if from.len() > 1 && !self.files.is_folder(&target) {
            return outcome(command, to, Err(FileError::NotFolder));
        }
        each(from, |from| {
            let source = normal("/", from);
            let done = match command {
                "mv" => self.files.rename(&source, &target),
                _ => self.files.copy(&source, &target),
            };
            outcome(command, from, done)
        })
    }

    fn test(&self, arguments: &[&str]) -> Said {
        let holds = |arguments: &[&str]| match arguments {
            ["-e", path] => Some(self.files.exists(&normal("/", path))),
            ["-f", path] => Some(self.files.read(&normal("/", path)).is_ok()),
            ["-d", path] => Some(self.files.is_folder(&normal("/", path))),
            ["-s", path] => Some(
                self.files
                    .read(&normal("/", path))
                    .is_ok_and(|text| !text.is_empty()),
            ),
            ["-n", text] | [text] => Some(!text.is_empty()),
            ["-z", text] => Some(text.is_empty()),
            [a, "=" | "==", b] => Some(a == b),
            [a, "!=", b] => Some(a != b),
            _ => None,
        };
        let holds = match arguments {
            [] => Some(false),
            ["!", rest @ ..] => holds(rest).map(|holds| !holds),
            rest => holds(rest),
        };
        match holds {
            Some(holds) => Said::code(u8::from(!holds)),
            None => Said::failed(2, "test: this is not known here"),
        }
    }
}

fn each(words: &[&str], mut work: impl FnMut(&str) -> Said) -> Said {
    let mut all = Said::default();
    let mut code = 0;
    for word in words {
        all.follow(&work(word));
        code = code.max(all.code);
    }
    all.code = code;
    all
}

fn outcome(command: &str, path: &str, done: Result<(), FileError>) -> Said {
    match done {
        Ok(()) => Said::default(),
        Err(error) => Said::failed(1, format_args!("{command}: {path}: {error}")),
    }
}

/// Is it a shell, by the name that images give it?
pub(in super::super) fn is_shell(program: &str) -> bool {
    let name = program.rsplit('/').next().unwrap_or(program);
    ["sh", "bash", "ash"].contains(&name)
}

/// `nginx` of `docker.io/library/nginx:1.19.4@sha256:...`.
pub(super) fn image_name(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    last.split([':', '@']).next().unwrap_or(last)
}

/// Versions behind tags that name none, so that whoever changes one for the other sees a difference. Source: seed 004,
/// `nginx:perl` and `nginx:latest`.
const NGINX_TAGS: [(&str, &str); 2] = [("perl", "1.27.5"), ("stable", "1.28.0")];
/// The version behind any other tag, and behind none.
const NGINX_LATEST: &str = "1.29.3";

/// The version that the tag names. Source: embedded-cluster.md 10.7.
fn nginx_version(image: &str) -> &str {
    let last = image.rsplit('/').next().unwrap_or(image);
    let tag = last.split('@').next().and_then(|named| named.split_once(':'));
    let word = tag.and_then(|(_, tag)| tag.split('-').next()).unwrap_or_default();
    if word.starts_with(|c: char| c.is_ascii_digit()) {
        return word;
    }
    let known = NGINX_TAGS.iter().find(|(tag, _)| *tag == word);
    known.map_or(NGINX_LATEST, |(_, version)| version)
}

/// Takes a script apart: words in quotes, variables, `;` `&&` `||`, newlines, `>` `>>` `2>/dev/null` `2>&1`.
///
/// Err: the first thing in it that is not known here.
fn parse(script: &str, variable: &dyn Fn(&str) -> String) -> Result<Vec<Command>, String> {
    let mut parser = Parser {
        left: script.chars().collect::<Vec<_>>().into_iter().peekable(),
        variable,
        commands: Vec::new(),
        next: Command::new(When::Always),
        target: Target::Word,
    };
    parser.run()?;
    Ok(parser.commands)
}

impl Command {
    fn new(when: When) -> Self {
        Self {
            when,
            words: Vec::new(),
            stdout: None,
            stderr: Stderr::Shown,
        }
    }
}

/// What the next word is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Word,
    Stdout { add: bool },
    Stderr,
}

struct Parser<'a> {
    left: std::iter::Peekable<std::vec::IntoIter<char>>,
    variable: &'a dyn Fn(&str) -> String,
    commands: Vec<Command>,
    next: Command,
    target: Target,
}

impl Parser<'_> {
    fn run(&mut self) -> Result<(), String> {
        while let Some(&c) = self.left.peek() {
            match c {
                '\n' | ';' => {
                    self.left.next();
                    self.end(When::Always);
                }
                c if c.is_whitespace() => {
                    self.left.next();
                }
                '#' => while self.left.next_if(|c| *c != '\n').is_some() {},
                '&' | '|' => {
                    self.left.next();
                    if self.left.next_if_eq(&c).is_none() {
                        return Err(c.to_string());
                    }
                    self.end(if c == '&' {
                        When::AfterSuccess
                    } else {
                        When::AfterFailure
                    });
                }
                '>' => {
                    self.left.next();
                    let add = self.left.next_if_eq(&'>').is_some();
                    self.target = Target::Stdout { add };
                }
                '<' | '(' | ')' | '{' | '}' | '`' => return Err(c.to_string()),
                _ => {
                    let (word, is_quoted) = self.word()?;
                    self.take(word, is_quoted)?;
                }
            }
        }
        self.end(When::Always);
        Ok(())
    }

    fn end(&mut self, when: When) {
        let command = std::mem::replace(&mut self.next, Command::new(when));
        if command.words.is_empty() {
            // An empty line between two commands changes nothing.
            self.next.when = if when == When::Always { command.when } else { when };
        } else {
            self.commands.push(command);
        }
    }

    fn take(&mut self, word: String, is_quoted: bool) -> Result<(), String> {
        const UNKNOWN: [&str; 9] = [
            "if", "for", "while", "until", "case", "function", "exec", "eval", "cd",
        ];
        match self.target {
            Target::Stdout { add } => self.next.stdout = Some((word, add)),
            Target::Stderr if word == "/dev/null" => self.next.stderr = Stderr::Dropped,
            Target::Stderr if word == "&1" => self.next.stderr = Stderr::WithStdout,
            Target::Stderr => return Err(format!("2>{word}")),
            Target::Word if word == "2" && !is_quoted && self.left.peek() == Some(&'>') => {
                self.left.next();
                self.target = Target::Stderr;
                if self.left.next_if_eq(&'&').is_some() {
                    let (word, _) = self.word()?;
                    return self.take(format!("&{word}"), false);
                }
                return Ok(());
            }
            Target::Word if self.next.words.is_empty() && UNKNOWN.contains(&word.as_str()) => {
                return Err(word);
            }
            Target::Word if word.is_empty() && !is_quoted => {}
            Target::Word => self.next.words.push(word),
        }
        self.target = Target::Word;
        Ok(())
    }

    fn word(&mut self) -> Result<(String, bool), String> {
        let (mut word, mut is_quoted) = (String::new(), false);
        while let Some(&c) = self.left.peek() {
            match c {
                c if c.is_whitespace() || ";&|<>()".contains(c) => break,
                '\'' => {
                    self.left.next();
                    is_quoted = true;
                    loop {
                        match self.left.next() {
                            Some('\'') => break,
                            Some(c) => word.push(c),
                            None => return Err("'".to_owned()),
                        }
                    }
                }
                '"' => {
                    self.left.next();
                    is_quoted = true;
                    self.double_quoted(&mut word)?;
                }
                '\\' => {
                    self.left.next();
                    word.extend(self.left.next());
                }
                '$' => {
                    self.left.next();
                    self.variable(&mut word)?;
                }
                '`' | '*' | '?' => return Err(c.to_string()),
                c => {
                    self.left.next();
                    word.push(c);
                }
            }
        }
        Ok((word, is_quoted))
    }

    fn double_quoted(&mut self, word: &mut String) -> Result<(), String> {
        loop {
            match self.left.next() {
                Some('"') => return Ok(()),
                Some('$') => self.variable(word)?,
                Some('`') => return Err("`".to_owned()),
                Some('\\') => match self.left.next() {
                    Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                    Some(c) => word.extend(['\\', c]),
                    None => return Err("\"".to_owned()),
                },
                Some(c) => word.push(c),
                None => return Err("\"".to_owned()),
            }
        }
    }

    /// What follows a `$`.
    fn variable(&mut self, word: &mut String) -> Result<(), String> {
        let braced = self.left.next_if_eq(&'{').is_some();
        let mut name = String::new();
        while let Some(c) = self.left.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
            name.push(c);
        }
        if (braced && self.left.next_if_eq(&'}').is_none()) || self.left.peek() == Some(&'(') {
            return Err("$".to_owned());
        }
        if name.is_empty() {
            word.push('$');
        } else {
            word.push_str(&(self.variable)(&name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::files::INDEX_PAGE;
    use super::*;

    fn run(files: &mut Files, words: &[&str]) -> (String, String, u8) {
        let mut inside = Inside {
            files,
            image: "nginx:1.19.4",
            hostname: "web-1",
            variables: vec![("GREETING", "hello  world")],
        };
        let words: Vec<String> = words.iter().map(ToString::to_string).collect();
        let said = inside.run(&words);
        (said.stdout, said.stderr, said.code)
    }

    #[test]
    fn commands_say_what_they_say_in_a_container() {
        for (words, stdout, stderr, code) in [
            (vec!["true"], "", "", 0),
            (vec!["/bin/false"], "", "", 1),
            (vec!["echo", "a", "$HOSTNAME"], "a $HOSTNAME\n", "", 0),
            (vec!["hostname"], "web-1\n", "", 0),
            (vec!["cat", "/etc/hostname"], "web-1\n", "", 0),
            (
                vec!["cat", "/x", "/etc/hostname"],
                "web-1\n",
                "cat: /x: No such file or directory\n",
                1,
            ),
            (vec!["printenv", "GREETING"], "hello  world\n", "", 0),
            (vec!["nginx", "-v"], "", "nginx version: nginx/1.19.4\n", 0),
            (
                vec!["ls", "-l", "/usr/share/nginx/html"],
                "50x.html\nindex.html\n",
                "",
                0,
            ),
            (vec!["test", "-f", INDEX_PAGE], "", "", 0),
            (vec!["[", "!", "-e", INDEX_PAGE, "]"], "", "", 1),
            (
                vec!["curl", "localhost"],
                "",
                "curl: no real container runs here, and the simulated one does not know this\n",
                126,
            ),
        ] {
            let mut files = Files::of_image("nginx:1.19.4", "web-1", None);
            let want = (stdout.to_owned(), stderr.to_owned(), code);
            assert_eq!(run(&mut files, &words), want, "{words:?}");
        }
    }

    #[test]
    fn scripts_run_command_by_command() {
        for (script, stdout, code) in [
            ("echo a; echo b", "a\nb\n", 0),
            ("true && echo yes || echo no", "yes\n", 0),
            ("false && echo yes || echo no", "no\n", 0),
            ("exit 3; echo never", "", 3),
            (
                "echo \"$HOSTNAME: ${GREETING}\" '$HOSTNAME' \\$",
                "web-1: hello  world $HOSTNAME $\n",
                0,
            ),
            (
                "echo one > /tmp/f\necho two >>/tmp/f # added\n\ncat /tmp/f",
                "one\ntwo\n",
                0,
            ),
            ("cat /nosuch 2>/dev/null || echo gone", "gone\n", 0),
            ("cat /nosuch 2>&1", "cat: /nosuch: No such file or directory\n", 1),
            ("[ -f /etc/hostname ] && echo there", "there\n", 0),
            ("sh -c 'exit 4' || echo after", "after\n", 0),
            ("", "", 0),
        ] {
            let mut files = Files::of_image("nginx:1.19.4", "web-1", None);
            let (said, _, ended) = run(&mut files, &["sh", "-c", script]);
            assert_eq!((said.as_str(), ended), (stdout, code), "{script}");
        }
    }

    #[test]
    fn a_script_that_needs_more_of_a_shell_does_nothing() {
        for script in [
            "rm /etc/hostname; ls | wc",
            "rm /etc/hostname; echo $(date)",
            "rm /etc/hostname; for i in 1 2; do echo $i; done",
            "rm /etc/hostname; rm *",
            "rm /etc/hostname; sleep 1 &",
            "rm /etc/hostname; echo 'open",
        ] {
            let mut files = Files::of_image("nginx:1.19.4", "web-1", None);
            let (_, stderr, code) = run(&mut files, &["sh", "-c", script]);
            assert_eq!(code, 126, "{script}: {stderr}");
            assert!(files.exists("/etc/hostname"), "{script}");
        }
    }

    #[test]
    fn versions_come_from_tags() {
        for (image, want) in [
            ("nginx:1.19.4", "1.19.4"),
            ("registry:5000/library/nginx:1.25.1-alpine@sha256:00", "1.25.1"),
            ("nginx", "1.29.3"),
            ("nginx:latest", "1.29.3"),
            ("nginx:perl", "1.27.5"),
            ("nginx:stable-alpine", "1.28.0"),
        ] {
            assert_eq!(
                (nginx_version(image), image_name(image)),
                (want, "nginx"),
                "{image}"
            );
        }
    }
}
