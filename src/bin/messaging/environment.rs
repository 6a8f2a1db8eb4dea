//! Options in an environment variable.

use std::ffi::OsString;

/// The arguments of this program, with those of an environment variable behind the program's name: what is said on the
/// command line comes later, and wins.
///
/// # Errors
/// When the variable is no text, or a quote in it does not end.
pub(crate) fn arguments_with(variable: &str) -> Result<Vec<OsString>, String> {
    let mut arguments: Vec<OsString> = std::env::args_os().collect();
    let Some(value) = std::env::var_os(variable) else { return Ok(arguments) };
    let text = value.into_string().map_err(|_| format!("the environment variable {variable} is no text"))?;
    let words = words(&text).map_err(|what| format!("the environment variable {variable} {what}"))?;
    let at = arguments.len().min(1);
    arguments.splice(at..at, words.into_iter().map(OsString::from));
    Ok(arguments)
}

/// The words of a text, separated by blanks. Between quotes of either kind a blank is none; a backslash, but between single
/// quotes, takes the meaning from the next character.
fn words(text: &str) -> Result<Vec<String>, &'static str> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None, c) if c.is_whitespace() => words.extend(word.take()),
            (None, '"' | '\'') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (Some(open), c) if open == c => quote = None,
            (None | Some('"'), '\\') => {
                let next = characters.next().ok_or("ends with a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("has a quote that does not end");
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_separated_by_blanks() {
        let check = |text: &str, expected: &[&str]| assert_eq!(words(text).unwrap(), expected, "{text}");
        check("", &[]);
        check("  ", &[]);
        check(" -t  tcp\t--reply\n", &["-t", "tcp", "--reply"]);
        check(r#"-c "a b" 'c "d"' e' f'g"" '' "#, &["-c", "a b", "c \"d\"", "e fg", ""]);
        check(r#"a\ b "c\"d" 'e\f'"#, &["a b", "c\"d", "e\\f"]);
        assert!(words("a 'b").is_err() && words("a\\").is_err());
    }
}
