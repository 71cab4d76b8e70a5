//! The page on which every promise stands with the tests that hold it names tests that exist.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// How many promises there are.
const PROMISES: usize = 12;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The lines of a page, without what makes them comments.
fn page(path: &str) -> Vec<String> {
    let text = read(path);
    let lines = text.lines().filter_map(|line| line.strip_prefix("//!"));
    lines.map(|line| line.trim_start().to_owned()).collect()
}

/// The number that a line begins with: `4. One exit`.
fn number(line: &str) -> Option<usize> {
    line.split_once(". ")?.0.parse().ok()
}

/// What stands between backticks.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The tests that each promise names, as file and name. An item of a list begins with the file; its names may take
/// several lines.
fn named() -> BTreeMap<usize, Vec<(String, String)>> {
    let mut named: BTreeMap<usize, Vec<_>> = BTreeMap::new();
    let (mut promise, mut file) = (None, None);
    for line in page("src/guarantees.rs") {
        if let Some(title) = line.strip_prefix("# ") {
            promise = number(title);
            named
                .entry(promise.expect("a title has a number"))
                .or_default();
        }
        let mut words = quoted(&line);
        if line.is_empty() || line.starts_with('#') {
            file = None;
        } else if line.starts_with("* ") {
            file = words.next().map(str::to_owned);
        }
        let (Some(promise), Some(file)) = (promise, &file) else {
            continue;
        };
        let tests = words.map(|name| (file.clone(), name.to_owned()));
        named.entry(promise).or_default().extend(tests);
    }
    named
}

/// Whether a file has a test of this name: one in a list for the harness of this crate, or one with the attribute.
fn has_test(text: &str, name: &str) -> bool {
    let function = format!("fn {name}(");
    let mut above = text.lines().map(str::trim);
    let Some(position) = above.position(|line| line.starts_with(&function)) else {
        return false;
    };
    if text.contains(&format!("test!({name})")) {
        return true;
    }
    let lines: Vec<&str> = text.lines().map(str::trim).take(position).collect();
    let attributes = lines.iter().rev();
    attributes
        .take_while(|line| line.starts_with('#') || line.starts_with("//"))
        .any(|line| *line == "#[test]")
}

#[test]
fn every_promise_names_tests_that_exist() {
    let named = named();
    let promises: Vec<usize> = named.keys().copied().collect();
    assert_eq!(promises, (1..=PROMISES).collect::<Vec<_>>());
    let mut missing = Vec::new();
    for (promise, tests) in &named {
        assert!(!tests.is_empty(), "nothing holds promise {promise}");
        for (file, name) in tests {
            if !has_test(&read(file), name) {
                missing.push(format!("promise {promise}: {file} has no test {name}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_first_page_has_the_same_promises() {
    let lines = page("src/lib.rs");
    let promised = lines
        .iter()
        .skip_while(|line| *line != "# What is promised")
        .skip(1)
        .take_while(|line| !line.starts_with("# "));
    let numbers: Vec<usize> = promised.filter_map(|line| number(line)).collect();
    assert_eq!(numbers, (1..=PROMISES).collect::<Vec<_>>());
}

#[test]
fn what_is_no_test_any_more_is_noticed() {
    let text =
        "test!(in_a_list)\nfn in_a_list() {\n#[test]\n/// Why.\nfn with_it() {\nfn helper() {";
    assert!(has_test(text, "in_a_list") && has_test(text, "with_it"));
    for name in ["helper", "in_a", "gone"] {
        assert!(!has_test(text, name), "{name}");
    }
}
