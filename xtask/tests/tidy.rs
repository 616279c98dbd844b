//! The rules of style.md that a machine can check.
#![allow(clippy::panic, reason = "a test fails by panicking")]

type Rule = fn() -> anyhow::Result<Vec<String>>;

fn check(rule: Rule) {
    match rule() {
        Ok(found) if found.is_empty() => {}
        Ok(found) => panic!("\n{}\n", found.join("\n")),
        Err(error) => panic!("{error:#}"),
    }
}

#[test]
fn crates_depend_only_in_the_direction_of_the_design() {
    check(xtask::unwanted_dependencies);
}

#[test]
fn every_file_is_compiled() {
    check(xtask::unreachable_files);
}

#[test]
fn no_module_outgrows_its_reader() {
    check(xtask::long_modules);
}

#[test]
fn string_keys_live_in_one_place() {
    check(xtask::stray_keys);
}

#[test]
fn modules_are_named_after_what_is_in_them() {
    check(xtask::nameless_modules);
}

#[test]
fn the_map_names_files_that_exist() {
    check(xtask::wrong_paths_in_the_map);
}

#[test]
fn the_first_command_of_the_readme_runs_a_program() {
    check(xtask::unclear_program);
}
