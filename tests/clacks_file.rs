//! clacks-file as its users meet it.
#![cfg(all(feature = "clacks", feature = "cli"))]

#[path = "support/program.rs"]
mod program;

use program::{Done, command, run};
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[track_caller]
fn clacks_file(arguments: &[&str]) -> Done {
    run(&mut command(env!("CARGO_BIN_EXE_clacks-file"), arguments), b"")
}

fn data(name: &str) -> String {
    format!("{}/tests/data/persistence/{name}", env!("CARGO_MANIFEST_DIR"))
}

#[test]
fn a_file_of_any_version_is_shown() {
    let wanted = "live\t1700000000.5\t1795221747\talpha\thello world\n\
                  live\t1700000000.5\t1795221747\tcounter\t2.5\n\
                  live\t1700000000.5\t1795221747\tempty\t\n\
                  removed\t1700000001.5\t1700000001.5\tgone\t\n\
                  live\t1700000000.5\t1795221747\tnumber\t42\n\
                  live\t1700000000.5\t1795221747\tutf\tä\n";
    assert_eq!(clacks_file(&["show", &data("old-22to23.dat")]).success(), wanted);
    let done = clacks_file(&["show", &data("v3-values.dat")]);
    let shown = done.success();
    assert_eq!(shown.lines().count(), 131);
    for line in ["k\\u{0}z\tkey", "v054\ttab\\there", "v052\t\\\\n", "v060\t\\xff\\xfe", "v059\tä€😀"] {
        assert!(shown.contains(&format!("\t{line}\n")), "{line}: {shown}");
    }
}

#[test]
fn a_damaged_file_fails_and_its_backup_stands_in() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).to_string_lossy().into_owned();
    let whole = fs::read(data("v3-small.dat")).unwrap();
    fs::write(path("c"), &whole).unwrap();
    let text = format!(
        "{0}: 4 entries and 1 tombstones loaded\n{0}: CLACKSV3, 4 entries, 1 tombstones\n",
        path("c")
    );
    assert_eq!(clacks_file(&["check", &path("c")]).success(), text);
    fs::write(path("c"), &whole[..whole.len() - 9]).unwrap();
    clacks_file(&["check", &path("c")]).failure(1, "clacks-file: ");
    fs::write(path("c_bck"), &whole).unwrap();
    let done = clacks_file(&["show", &path("c")]);
    assert_eq!((done.code(), done.text().lines().count()), (Some(1), 5), "{done:?}");
    assert!(done.stderr.contains("c is damaged: line 26: the end is missing"), "{done:?}");
    clacks_file(&["show", "--alone", &path("c")]).failure(1, "clacks-file: ");
    let missing = format!("clacks-file: {}: can't be read: No such file", path("none"));
    clacks_file(&["check", &path("none")]).failure(1, &missing);
    clacks_file(&["convert", &path("c")]).failure(2, "clacks-file: ");
}

#[test]
fn an_old_file_is_converted_and_nothing_is_replaced_without_being_asked() {
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("new");
    let to_text = to.to_string_lossy();
    assert_eq!(clacks_file(&["convert", &data("old-22to23.dat"), &to_text]).success(), "");
    assert!(fs::read(&to).unwrap().starts_with(b"\0CLACKSV3--- \nalpha: \n"));
    let shown = |path: &str| clacks_file(&["show", path]).success().to_owned();
    assert_eq!(shown(&to_text), shown(&data("old-22to23.dat")));
    let taken = format!("clacks-file: {to_text}: is there already; --force replaces it");
    clacks_file(&["convert", &data("v3-small.dat"), &to_text]).failure(1, &taken);
    clacks_file(&["convert", "--force", &data("v3-small.dat"), &to_text]).success();
    assert_eq!(fs::read(&to).unwrap(), fs::read(data("v3-small.dat")).unwrap());
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing else is left");
    for no_file in ["/dev/null", &folder.path().to_string_lossy()] {
        let wanted = format!("clacks-file: {no_file}: is there, and is no regular file");
        clacks_file(&["convert", "--force", &data("v3-small.dat"), no_file]).failure(1, &wanted);
    }
    let nowhere = Path::new("/nonexistent/file").to_string_lossy();
    clacks_file(&["convert", &data("v3-small.dat"), &nowhere])
        .failure(1, "clacks-file: /nonexistent/file: can't be written");
}

#[test]
fn its_pages_can_be_printed() {
    assert!(clacks_file(&["man"]).success().contains("clacks\\-file"));
    assert!(clacks_file(&["completions", "bash"]).success().contains("clacks-file"));
}
