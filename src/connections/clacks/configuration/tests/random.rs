use proptest::prelude::*;

use super::super::Configuration;
use super::{all_settings, problems_with, surroundings};

proptest! {
    #[test]
    fn random_bytes_never_panic(text in prop::collection::vec(any::<u8>(), 0..200)) {
        problems_with(&text, &[("PC_", "<")]);
    }

    /// What has the shape of a configuration gets farther.
    #[test]
    fn random_pieces_never_panic_and_places_are_in_the_file(pieces in prop::collection::vec(piece(), 0..30)) {
        let text = format!("<clacks>{}</clacks>", pieces.concat());
        let variables = [("PC_A", "<user>\n"), ("PC_AB", ""), ("PC_B", "é&")];
        let read = Configuration::parse(text.as_bytes(), "c.xml", &surroundings("here", &variables));
        let problems = match &read {
            Ok(loaded) => loaded.problems(),
            Err(problems) => problems,
        };
        let lines: Vec<_> = text.split('\n').collect();
        for problem in problems {
            let place = problem.place().expect("a place");
            let line = lines.get(place.line() - 1);
            prop_assert!(line.is_some_and(|line| place.column() <= line.chars().count() + 1), "{}", problem);
        }
    }
}

/// A tag of a known name, a value or a piece of XML.
fn piece() -> impl Strategy<Value = String> {
    let names: Vec<String> = all_settings()
        .into_iter()
        .map(|(path, _)| path.rsplit('/').next().unwrap_or_default().to_owned())
        .chain(["here".into(), "there".into()])
        .collect();
    let tag = prop::sample::select(names);
    prop_oneof![
        tag.clone().prop_map(|name| format!("<{name}>")),
        tag.clone().prop_map(|name| format!("</{name}>")),
        tag.clone().prop_map(|name| format!("<{name}/>")),
        (tag.clone(), "[0-9a.: \n]{0,4}").prop_map(|(name, value)| format!("<{name}>{value}</{name}>")),
        (tag.clone(), tag.clone(), "[01é]{0,2}").prop_map(|(a, b, c)| format!("<{a}><{b}>{c}</{b}></{a}>")),
        (tag.clone(), tag, "[01\n]{0,2}").prop_map(|(a, b, c)| format!("<{a} {b}='{c}'/>")),
        prop::sample::select(vec![
            "PC_A",
            "PC_AB",
            "PC_B",
            "&amp;",
            "<![CDATA[x]]>",
            "<!-- -->",
            "\n",
            "é",
            "\r"
        ])
        .prop_map(String::from),
    ]
}
