use std::fmt;
use std::sync::Arc;

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The configuration can't be used.
    Error,
    /// The configuration can be used, but somebody should look at it.
    Warning,
}

/// Where something stands in a configuration file, as its author wrote it: before the
/// replacement of variables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    line: usize,
    column: usize,
    variable: Option<Arc<str>>,
}

impl Place {
    pub(super) fn new(line: usize, column: usize, variable: Option<Arc<str>>) -> Self {
        Self { line, column, variable }
    }

    /// The line, counted from 1.
    pub fn line(&self) -> usize {
        self.line
    }

    /// The column in characters, counted from 1. A tab is one character.
    pub fn column(&self) -> usize {
        self.column
    }

    /// The environment variable in whose value the place is. Line and column are then those of
    /// the variable's name.
    pub fn variable(&self) -> Option<&str> {
        self.variable.as_deref()
    }
}

/// One thing that is wrong with a configuration.
///
/// Displayed as `example.xml:12:5: <port> is missing: <ip> needs one`. Never shows a password.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    severity: Severity,
    file: Arc<str>,
    place: Option<Place>,
    what: String,
}

impl Problem {
    pub(super) fn new(severity: Severity, file: Arc<str>, place: Option<Place>, what: String) -> Self {
        Self { severity, file, place, what }
    }

    /// How bad it is.
    pub fn severity(&self) -> Severity {
        self.severity
    }

    /// The name of the file.
    pub fn file(&self) -> &str {
        &self.file
    }

    /// Where in the file; none if the problem is about the file as a whole.
    pub fn place(&self) -> Option<&Place> {
        self.place.as_ref()
    }

    /// What is wrong, without the place.
    pub fn what(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(place) = &self.place {
            write!(f, ":{}:{}", place.line, place.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        f.write_str(&self.what)?;
        match self.place.as_ref().and_then(Place::variable) {
            Some(variable) => write!(f, " (in the value of {variable})"),
            None => Ok(()),
        }
    }
}

/// All that is wrong with one configuration, in the order of the file. What is about the file as a
/// whole comes first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    list: Vec<Problem>,
}

impl Problems {
    /// Adds a problem at its place.
    pub(super) fn add(&mut self, problem: Problem) {
        let at = self.list.partition_point(|other| other.place <= problem.place);
        self.list.insert(at, problem);
    }

    /// Whether one of them is an error.
    pub fn has_errors(&self) -> bool {
        self.list.iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// In the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, Problem> {
        self.list.iter()
    }

    /// What `--check` prints: one line per problem, each with its line end and beginning with the name
    /// of the program (`clacksd: example.xml:12:5: …`). Empty if there is no problem.
    pub fn render(&self, program: &str) -> String {
        self.list.iter().map(|problem| format!("{program}: {problem}\n")).collect()
    }
}

impl FromIterator<Problem> for Problems {
    fn from_iter<I: IntoIterator<Item = Problem>>(problems: I) -> Self {
        let mut list: Vec<_> = problems.into_iter().collect();
        list.sort_by(|a, b| a.place.cmp(&b.place));
        Self { list }
    }
}

impl<'a> IntoIterator for &'a Problems {
    type Item = &'a Problem;
    type IntoIter = std::slice::Iter<'a, Problem>;

    fn into_iter(self) -> Self::IntoIter {
        self.list.iter()
    }
}

/// One line per problem, without a line end after the last.
impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.list.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(severity: Severity, place: Option<(usize, usize)>, what: &str) -> Problem {
        let place = place.map(|(line, column)| Place::new(line, column, None));
        Problem::new(severity, "a.xml".into(), place, what.into())
    }

    #[test]
    fn problems_are_rendered_in_the_order_of_the_file() {
        let mut problems: Problems = [
            problem(Severity::Warning, Some((10, 2)), "c"),
            problem(Severity::Error, Some((2, 11)), "b"),
            problem(Severity::Error, None, "a"),
        ]
        .into_iter()
        .collect();
        problems.add(problem(Severity::Error, Some((2, 11)), "b, later"));
        problems.add(problem(Severity::Error, Some((2, 3)), "b, before"));
        assert_eq!(
            problems.render("clacksd"),
            "clacksd: a.xml: a\n\
             clacksd: a.xml:2:3: b, before\n\
             clacksd: a.xml:2:11: b\n\
             clacksd: a.xml:2:11: b, later\n\
             clacksd: a.xml:10:2: warning: c\n"
        );
        assert_eq!(problems.render("x").lines().count(), problems.len());
    }

    #[test]
    fn only_errors_count_as_errors() {
        let warning = problem(Severity::Warning, None, "w");
        let error = problem(Severity::Error, None, "e");
        assert!(!Problems::default().has_errors());
        assert!(!Problems::from_iter([warning.clone()]).has_errors());
        assert!(Problems::from_iter([warning, error]).has_errors());
    }

    #[test]
    fn a_place_in_a_value_names_the_variable() {
        let place = Place::new(3, 4, Some("PC_X".into()));
        let problem = Problem::new(Severity::Error, "a.xml".into(), Some(place), "bad".into());
        assert_eq!(problem.to_string(), "a.xml:3:4: bad (in the value of PC_X)");
    }
}
