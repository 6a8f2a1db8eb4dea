//! What the documents say about the library exists. (Their programs run as documentation tests.)

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The folder of the package.
fn package() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// All files below `folder` whose names end with `end`.
fn files(folder: &Path, end: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path, end));
        } else if path.to_string_lossy().ends_with(end) {
            found.push(path);
        }
    }
    found.sort();
    found
}

/// The README and all pages.
fn pages() -> Vec<PathBuf> {
    let mut pages = files(&package().join("docs"), ".md");
    pages.push(package().join("README.md"));
    pages
}

/// The lines of a page that are no program.
fn prose(page: &str) -> impl Iterator<Item = &str> {
    let mut program = false;
    page.lines().filter(move |line| {
        let fence = line.starts_with("```");
        program ^= fence;
        !program && !fence
    })
}

/// What stands between backticks in a line.
fn code(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The names of the tests in a file.
fn tests(text: &str) -> BTreeSet<&str> {
    let mut lines = text.lines().map(str::trim);
    let mut names = BTreeSet::new();
    while lines.any(|line| line == "#[test]") {
        let function = lines.by_ref().find_map(|line| line.strip_prefix("fn "));
        names.extend(function.and_then(|function| function.split('(').next()));
    }
    names
}

#[test]
fn the_tests_of_the_comparison_exist() {
    let page = read(&package().join("docs/comparison.md"));
    let mut points = BTreeSet::new();
    for row in prose(&page) {
        let cells: Vec<_> = row.trim_matches('|').split(" | ").map(str::trim).collect();
        let Some(point) = cells[0].parse::<u32>().ok().filter(|_| cells.len() == 4) else { continue };
        points.insert(point);
        let (mut file, mut known, mut count) = ("", String::new(), 0);
        for name in code(cells[3]) {
            if name.ends_with(".rs") {
                (file, known) = (name, read(&package().join(name)));
            } else {
                assert!(tests(&known).contains(name), "point {point}: {file} has no test {name}");
                count += 1;
            }
        }
        assert!(count > 0, "point {point} is shown by nothing");
    }
    assert_eq!(points, (1..=19).collect());
}

#[test]
fn the_tests_of_the_kinds_exist() {
    let sources = [files(&package().join("tests"), ".rs"), files(&package().join("src"), ".rs")].concat();
    let texts: Vec<String> = sources.iter().map(|file| read(file)).collect();
    let known: BTreeSet<&str> = texts.iter().flat_map(|text| tests(text)).collect();
    let page = read(&package().join("docs/kinds.md"));
    let (mut count, mut missing) = (0, Vec::new());
    for row in prose(&page).filter(|line| line.starts_with('|') && !line.contains("---")) {
        let shown = row.trim_matches('|').rsplit(" | ").next().unwrap_or_default();
        let names: Vec<_> = code(shown).collect();
        assert!(!names.is_empty() || shown.contains("shown by"), "nothing shows {row}");
        count += names.len();
        missing.extend(names.into_iter().filter(|name| !known.contains(name)));
    }
    assert!(missing.is_empty(), "no such tests: {missing:#?}");
    assert!(count > 150, "only {count} tests");
}

/// Names of tests are sentences: no function of the library has as many words.
#[test]
fn the_tests_that_pages_name_exist() {
    let mut texts = Vec::new();
    for folder in ["src", "tests"] {
        texts.extend(files(&package().join(folder), ".rs").iter().map(|file| read(file)));
    }
    let known: BTreeSet<_> = texts.iter().flat_map(|text| tests(text)).collect();
    for page in ["docs/reliability.md", "docs/security.md"] {
        let text = read(&package().join(page));
        let named: BTreeSet<_> = prose(&text)
            .flat_map(code)
            .filter(|name| name.bytes().all(|b| b == b'_' || b.is_ascii_lowercase() || b.is_ascii_digit()))
            .filter(|name| name.matches('_').count() > 2)
            .collect();
        assert!(named.len() > 20, "{page} names {} tests", named.len());
        let missing: Vec<_> = named.difference(&known).collect();
        assert!(missing.is_empty(), "{page}: there are no tests {missing:?}");
    }
}

/// What the sources define for others: the names of items, and `Type::name` for what belongs to a type.
fn defined() -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for file in files(&package().join("src"), ".rs") {
        // The sources are formatted: what belongs to a type stands between its first line and a `}` of its own.
        let mut owner: Option<Owner> = None;
        for line in read(&file).lines() {
            let item = line.trim_start();
            let public = item.strip_prefix("pub ");
            let name = public.unwrap_or(item);
            let name = name.trim_start_matches("const ").trim_start_matches("fn ");
            if line.starts_with("impl") {
                owner = Owner::of(line);
            } else if line.starts_with('}') {
                owner = None;
            } else if let Some(item) = public
                && !line.starts_with(' ')
            {
                let keyword = item.split(' ').next().unwrap_or_default();
                let name = identifier(name.trim_start_matches(&format!("{keyword} "))).to_owned();
                owner = Some(Owner { name: name.clone(), all: ["enum", "trait"].contains(&keyword) });
                names.insert(name);
            } else if let Some(Owner { name: owner, all }) = &owner
                && line.len() - item.len() == 4
                && (*all || public.is_some())
            {
                names.insert(format!("{owner}::{}", identifier(name)));
            }
        }
    }
    names
}

/// Whose a line is.
struct Owner {
    name: String,
    /// All there is can be named outside, also what is not called public.
    all: bool,
}

impl Owner {
    /// That of an `impl`.
    fn of(line: &str) -> Option<Self> {
        let mut depth = 0;
        // Without what stands in angle brackets.
        let plain: String = line
            .replace("->", "  ")
            .chars()
            .filter(|c| {
                depth += i32::from(*c == '<');
                let outside = depth == 0;
                depth -= i32::from(*c == '>');
                outside
            })
            .collect();
        let plain = plain.strip_prefix("impl")?;
        let (all, of) = plain.split_once(" for ").map_or((false, plain), |(_, of)| (true, of));
        Some(Self { name: identifier(of.trim_start()).to_owned(), all })
    }
}

fn identifier(text: &str) -> &str {
    text.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or_default()
}

/// The name of the library's that `code` is, if it is one: an item, or `Type::name`, without arguments and modules.
fn named(code: &str) -> Option<String> {
    let path = code.split(['(', '<', ' ', '{', '!']).next()?;
    let parts: Vec<_> = path.split("::").collect();
    let is_type = |part: &str| part.starts_with(|c: char| c.is_ascii_uppercase());
    let first = parts.iter().position(|part| is_type(part)).unwrap_or(parts.len() - 1);
    let names = &parts[first..];
    (names.len() <= 2 && names.iter().all(|name| !name.is_empty() && identifier(name) == *name))
        .then(|| names.join("::"))
}

#[test]
fn what_stands_for_the_parts_of_the_c_library_exists() {
    let defined = defined();
    let page = read(&package().join("docs/from-cpp.md"));
    let (mut count, mut missing) = (0, Vec::new());
    for row in prose(&page).filter(|line| line.starts_with('|')) {
        let Some((_, here)) = row.trim_matches('|').split_once(" | ") else { continue };
        for code in code(here) {
            count += 1;
            if !named(code).is_some_and(|name| defined.contains(&name)) {
                missing.push(format!("{code} in {row}"));
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
    assert!(count > 200, "only {count} names");
}

#[test]
fn the_functions_that_pages_speak_of_exist() {
    let defined = defined();
    let mut missing = BTreeMap::new();
    for page in pages() {
        // The tables of that page name the parts of the other library, too, and are looked at above.
        let tables = !page.ends_with("from-cpp.md");
        for line in prose(&read(&page)).filter(|line| tables || !line.starts_with('|')) {
            for code in code(line).filter(|code| code.contains("::") && !code.contains(char::is_whitespace)) {
                let module = code.split("::").next().unwrap_or_default();
                let Some(name) = named(code) else { continue };
                if !["io", "std", "mio", "rustls", "AnyEvent"].contains(&module) && !defined.contains(&name) {
                    missing.insert(code.to_owned(), page.clone());
                }
            }
        }
    }
    assert!(missing.is_empty(), "{missing:#?}");
}

#[test]
fn the_programs_of_all_pages_are_run() {
    let library = read(&package().join("src/lib.rs"));
    let mut count = 0;
    for page in pages().iter().filter(|page| read(page).contains("```rust")) {
        let path = page.strip_prefix(package()).unwrap().to_string_lossy();
        assert!(library.contains(&format!("include_str!(\"../{path}\")")), "{path} is not in src/lib.rs");
        count += 1;
    }
    assert!(count >= 12, "only {count} pages");
}

#[test]
fn links_lead_to_files() {
    let mut count = 0;
    for page in pages() {
        for link in read(&page).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let file = link.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let target = page.parent().unwrap_or(package()).join(file);
            assert!(target.exists(), "{}: {link} leads nowhere", page.display());
            count += 1;
        }
    }
    assert!(count > 20, "only {count} links");
}

#[test]
fn every_page_is_linked() {
    let all: String = pages().iter().map(|page| read(page)).collect();
    for page in pages() {
        let name = page.file_name().unwrap_or_default().to_string_lossy().into_owned();
        assert!(all.contains(&format!("{name})")) || name == "README.md", "nothing leads to {name}");
    }
}

/// Without clacks, TLS and the programs.
#[test]
fn the_library_alone_needs_few_crates() {
    let tree = Command::new(env!("CARGO"))
        .args([
            "tree",
            "--no-default-features",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--offline",
            "--locked",
        ])
        .current_dir(package())
        .output()
        .unwrap();
    assert!(tree.status.success(), "{}", String::from_utf8_lossy(&tree.stderr));
    let tree = String::from_utf8_lossy(&tree.stdout).into_owned();
    let crates: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    assert!(crates.contains("mio") && crates.contains("eventdispatcher"), "{crates:?}");
    assert!(crates.len() <= 21, "{crates:?}");
}
