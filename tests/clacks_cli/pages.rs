//! `completions`, `man` and `--help`, which are made of one definition.

use crate::{VERSION, bare, program};

/// All commands, as the help lists them.
fn commands() -> Vec<String> {
    let help = program::run(&mut bare(&["--help"]), b"");
    let lines = help.success().lines().skip_while(|line| *line != "Commands:").skip(1);
    let commands = lines.take_while(|line| !line.is_empty());
    let names = commands.map(|line| line.split_whitespace().next().expect(line).to_owned());
    names.filter(|name| name != "help").collect()
}

#[test]
fn the_help_has_all_commands() {
    assert_eq!(
        commands(),
        [
            "set",
            "notify",
            "listen",
            "store",
            "get",
            "del",
            "incr",
            "decr",
            "keys",
            "clear",
            "export",
            "import",
            "copy",
            "watch",
            "monitor",
            "clients",
            "status",
            "disconnect",
            "flush",
            "ping",
            "raw",
            "bench",
            "shutdown",
            "completions",
            "man"
        ]
    );
}

#[test]
fn completions_mention_all_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let done = program::run(&mut bare(&["completions", shell]), b"");
        let script = done.success();
        for word in commands().iter().map(String::as_str).chain(["socket", "raw-values"]) {
            assert!(script.contains(word), "{shell}: {word} is missing");
        }
    }
    program::run(&mut bare(&["completions", "tcsh"]), b"").failure(2, "clacks: invalid value 'tcsh'");
}

#[test]
fn manual_pages_are_there_for_all_commands() {
    let page = program::run(&mut bare(&["man"]), b"");
    for command in commands() {
        assert!(page.success().contains(&format!("clacks\\-{command}(1)")), "{command} is missing");
        let page = program::run(&mut bare(&["man", &command]), b"");
        assert!(page.success().starts_with(".ie"), "{command}");
        for part in [&format!(".TH clacks-{command} 1"), ".SH NAME", ".SH SYNOPSIS", VERSION] {
            assert!(page.text().contains(part), "{command}: {part} is missing: {}", page.text());
        }
    }
    for word in [".SH ENVIRONMENT\n.TP\n\\fBCLACKS_SOCKET\\fR\n", ".SH EXIT STATUS\n.TP\n\\fB0\\fR\n"] {
        assert!(page.text().contains(word), "{word} is missing");
    }
    program::run(&mut bare(&["man", "frob"]), b"").failure(2, "clacks: \"frob\" is no subcommand\n");
}

#[test]
fn the_version_is_printed() {
    assert_eq!(program::run(&mut bare(&["--version"]), b"").success(), format!("{VERSION}\n"));
}
