//! Pages with places in them, taken apart once.

use super::settings::text;
use std::path::Path;

/// A text with `{name}` and `{status}` in it.
#[derive(Debug)]
pub(crate) struct Template(Vec<Piece>);

#[derive(Debug)]
enum Piece {
    Text(String),
    Name,
    Status,
}

impl Template {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        Self::parse(&text(path)?).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(mut text: &str) -> Result<Self, String> {
        let mut pieces = Vec::new();
        while let Some((before, rest)) = text.split_once('{') {
            let (place, after) = rest.split_once('}').ok_or("a { without its }")?;
            pieces.push(Piece::Text(before.to_owned()));
            pieces.push(match place {
                "name" => Piece::Name,
                "status" => Piece::Status,
                other => return Err(format!("{{{other}}} is not known")),
            });
            text = after;
        }
        pieces.push(Piece::Text(text.to_owned()));
        Ok(Self(pieces))
    }

    /// The page, with what stands in it made harmless.
    pub(crate) fn fill(&self, name: &str, status: &str) -> String {
        let mut page = String::new();
        for piece in &self.0 {
            match piece {
                Piece::Text(text) => page.push_str(text),
                Piece::Name => escape(name, &mut page),
                Piece::Status => escape(status, &mut page),
            }
        }
        page
    }
}

fn escape(text: &str, page: &mut String) {
    for character in text.chars() {
        match character {
            '<' => page.push_str("&lt;"),
            '>' => page.push_str("&gt;"),
            '&' => page.push_str("&amp;"),
            '"' => page.push_str("&quot;"),
            other => page.push(other),
        }
    }
}
