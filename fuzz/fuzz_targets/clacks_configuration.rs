//! Configurations of the clacks server: whatever comes is one, or has errors that say where.
#![no_main]

use eventdispatcher::connections::clacks::configuration::{Configuration, Surroundings};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    let surroundings = Surroundings {
        hostname: "here".into(),
        environment: [("PC_A".into(), "<user>\n".into()), ("PC_".into(), "é&".into())].into_iter().collect(),
    };
    let read = Configuration::parse(text, "c.xml", &surroundings);
    let problems = match &read {
        Ok(loaded) => loaded.problems(),
        Err(problems) => problems,
    };
    assert_eq!(problems.has_errors(), read.is_err());
    assert!(problems.has_errors() <= !problems.is_empty());
    let lines: Vec<_> = text.split(|byte| *byte == b'\n').map(String::from_utf8_lossy).collect();
    for problem in problems {
        let Some(place) = problem.place() else { continue };
        let line = lines.get(place.line() - 1);
        assert!(line.is_some_and(|line| place.column() <= line.chars().count() + 1), "{problem}");
    }
    assert_eq!(problems.render("program").lines().count(), problems.len());
    if let Ok(loaded) = read {
        // What a server is started with can be made of it.
        let configuration = loaded.configuration;
        configuration.users_and_permissions();
        assert_eq!(configuration.settings(), configuration.settings());
        assert!(configuration.limits().max_line > 0);
    }
});
