//! The numbers of a scenario.

/// The numbers of a scenario, as they stand on the command line.
#[derive(Debug)]
pub(super) struct Parameters(Vec<(String, usize)>);

impl Parameters {
    /// Reads `key=number,…`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        text.split(',')
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (key, number) = pair.split_once('=')?;
                Some((key.to_owned(), number.parse().ok()?))
            })
            .collect::<Option<_>>()
            .map(Self)
            .ok_or_else(|| format!("{text:?} is not key=number,…"))
    }

    /// Takes a number that is at least 1.
    pub(super) fn take(&mut self, key: &str, default: usize) -> Result<usize, String> {
        let Some(at) = self.0.iter().position(|(name, _)| name == key) else { return Ok(default) };
        match self.0.swap_remove(at).1 {
            0 => Err(format!("{key} must be at least 1")),
            number => Ok(number),
        }
    }

    /// Takes a number of which 0 and nothing are no.
    pub(super) fn take_flag(&mut self, key: &str) -> bool {
        let at = self.0.iter().position(|(name, _)| name == key);
        at.is_some_and(|at| self.0.swap_remove(at).1 > 0)
    }

    /// Everything must be taken.
    pub(super) fn finish(self) -> Result<(), String> {
        self.0.first().map_or(Ok(()), |(key, _)| Err(format!("{key} is unknown, or given again")))
    }
}
